"""Micro-averaged F1 of labelled spans, for named entities and semantic roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

_PREFIXES = "BIES"


def _split(tag: str) -> tuple[str, str]:
    """Prefix (B, I, E, S or O) and type of a tag; a type may contain hyphens (`C-A1`) or be empty.

    Raises:
        ValueError: no such tag.
    """
    if tag == "O":
        return "O", ""
    if tag[:1] and tag[0] in _PREFIXES and tag[1:2] in ("", "-"):
        return tag[0], tag[2:]
    raise ValueError(f"{tag!r} is no tag; a tag is O, or B-, I-, E- or S- followed by a type.")


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The labelled spans of a sentence as (type, first token, last token).

    The reading is blind to the tagging scheme: a tag continues the span of the token before it if it is I- or E-, that
    token is B- or I-, and both have the same type. Every other tag but O starts a span. So an I- after O, or after a
    span of another type, starts one (IOB1 and IOB2 text mean the same), where strict IOB2 would drop it.

    Args:
        tags: one tag a token.

    Raises:
        ValueError: a tag that is none.
    """
    found: list[tuple[str, int, int]] = []
    before, before_type = "O", ""
    for position, tag in enumerate(tags):
        prefix, kind = _split(tag)
        if prefix in "IE" and before in "BI" and kind == before_type:
            found[-1] = (kind, found[-1][1], position)
        elif prefix != "O":
            found.append((kind, position, position))
        before, before_type = prefix, kind
    return set(found)


def strict_spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The spans that strict IOB2 reads, as (type, first token, last token): B-, then I- of the same type.

    Raises:
        ValueError: a tag that is none, or that IOB2 does not have.
    """
    found: list[tuple[str, int, int]] = []
    open_type: str | None = None
    for position, tag in enumerate(tags):
        prefix, kind = _split(tag)
        if prefix in "ES":
            raise ValueError(f"strict_span_f1: {tag!r} is no tag of IOB2, which has O, B- and I-.")
        if prefix == "B":
            found.append((kind, position, position))
            open_type = kind
        elif prefix == "I" and kind == open_type:
            found[-1] = (kind, found[-1][1], position)
        else:
            open_type = None
    return set(found)


Read = Callable[[Sequence[str]], AbstractSet[Any]]
"""Tags of a sentence to what is counted in them."""


class SpanCounts:
    """Precision, recall and F1 in percent over what is read in the tags of all sentences."""

    name: str
    outputs: tuple[str, ...]
    """The values' names: F1, precision, recall."""

    @staticmethod
    def read(tags: Sequence[str]) -> AbstractSet[Any]:
        """What is counted in the tags of one sentence."""
        raise NotImplementedError

    def score(self, prediction: Sequence[str], references: Sequence[Sequence[str]]) -> list[int]:
        """Statistics [correct, predicted, gold] of one sentence (semantic roles: of one proposition).

        Args:
            prediction: one tag a token.
            references: the one list of gold tags, as long as the prediction.

        Raises:
            ValueError: not exactly one reference, lists of unequal length, or a tag that is none.
        """
        return counts(self.name, self.read, prediction, references)

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """F1, precision and recall in percent from statistics [N, 3]."""
        return dict(zip(self.outputs, f1_precision_recall(statistics), strict=True))


class SpanF1(SpanCounts):
    """Precision, recall and F1 in percent over the spans of all sentences; a span counts if type and both ends agree.

    P-Tuning v2 (Liu et al. 2022) scores named entities and semantic roles with seqeval in its default mode. In SRL,
    `C-X` and `R-X` are types of their own and `V` is a span like others, unlike in the CoNLL-2005 script. A value whose
    denominator is 0 is 0.
    """

    name: str = "span_f1"
    equals: str = "seqeval 1.2.2, default mode"
    outputs: tuple[str, ...] = ("span_f1", "span_precision", "span_recall")
    higher_is_better: bool = True
    read = staticmethod(spans)


class StrictSpanF1(SpanCounts):
    """As `SpanF1`, but a span must be tagged as IOB2 demands: a B-, then I- of the same type.

    No paper here reports it. It shows what the default mode forgives: an I- without a B- before it names no span, in
    the prediction and in the gold tags alike. Data tagged in IOB1 (CoNLL03's own files) must be rewritten first
    (`task.options.scheme=IOB2`).
    """

    name: str = "strict_span_f1"
    equals: str = "seqeval 1.2.2, mode='strict', scheme=IOB2"
    outputs: tuple[str, ...] = ("strict_span_f1", "strict_span_precision", "strict_span_recall")
    higher_is_better: bool = True
    read = staticmethod(strict_spans)


def counts(name: str, read: Read, prediction: Sequence[str], references: Sequence[Sequence[str]]) -> list[int]:
    """[correct, predicted, gold]: how much of what `read` finds in the predicted tags it finds in the gold tags.

    Raises:
        ValueError: not exactly one reference, lists of unequal length, or a tag that is none; `name` is the metric's.
    """
    if len(references) != 1:
        raise ValueError(f"{name}: a sentence has {len(references)} references; it takes exactly one tag list.")
    if len(prediction) != len(references[0]):
        raise ValueError(
            f"{name}: {len(prediction)} predicted tags for {len(references[0])} gold tags; give one tag a token."
        )
    predicted, gold = read(prediction), read(references[0])
    return [len(predicted & gold), len(predicted), len(gold)]


def f1_precision_recall(statistics: np.ndarray) -> tuple[float, float, float]:
    """In percent, from statistics [N, 3] as `counts` gives them."""
    correct, predicted, gold = np.asarray(statistics, dtype=float).reshape(-1, 3).sum(axis=0)
    return _percent(2 * correct, predicted + gold), _percent(correct, predicted), _percent(correct, gold)


def _percent(part: float, whole: float) -> float:
    """`part` of `whole` in percent, 0 if there is no whole."""
    return float(100.0 * part / whole) if whole else 0.0
