"""Tags of words: which there are, what a file may hold, and the schemes IOB1 and IOB2."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Sequence

from repro.errors import DataError

OUTSIDE = "O"
_TAG = re.compile(r"O|[BIES](-\S+)?")


def known_tag(tag: str, labels: Sequence[str], where: str) -> str:
    """The tag, if it is one of the labels; where there are none, if it is a tag at all.

    Raises:
        DataError: it is not.
    """
    if labels and tag not in labels:
        raise DataError(f"{where}: the tag {reprlib.repr(tag)} is not one of {list(labels)} (task.labels).")
    if not labels and not _TAG.fullmatch(tag):
        raise DataError(f"{where}: {reprlib.repr(tag)} is no tag: O, B or I, or B- or I- and a type, are (B-Loc, say).")
    return tag


def tags_in(sentences: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """The tag set of a split: O, then all others in alphabetical order, whatever the order of its sentences."""
    return (OUTSIDE, *sorted({tag for tags in sentences for tag in tags} - {OUTSIDE}))


def missing_tags(split: str, sentences: Iterable[Iterable[str]], labels: Sequence[str]) -> list[str]:
    """What a record says of gold tags that the labels lack: no model can predict them, and the score counts them."""
    known = set(labels)
    unknown = [tag for tags in sentences for tag in tags if tag not in known]
    if not unknown:
        return []
    names = ", ".join(sorted(set(unknown)))
    return [f"{split}: {len(unknown)} words have tags that the training file lacks ({names}): scored, always missed."]


def _continues(tag: str, before: str) -> bool:
    return before != OUTSIDE and before[2:] == tag[2:]


def iob2(tags: Sequence[str]) -> bool:
    """Whether every I- follows a B- or I- of its type."""
    pairs = zip([OUTSIDE, *tags], tags, strict=False)
    return all(_continues(tag, before) for before, tag in pairs if tag.startswith("I-"))


def to_iob2(tags: Sequence[str]) -> list[str]:
    """IOB1 or IOB2 as IOB2: an I- that begins a span becomes a B-; the spans stay the same."""
    pairs = zip([OUTSIDE, *tags], tags, strict=False)
    return [f"B-{tag[2:]}" if tag.startswith("I-") and not _continues(tag, before) else tag for before, tag in pairs]
