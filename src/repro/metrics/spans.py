"""Micro-averaged F1 of labelled spans, for named entities and semantic roles."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from repro.metrics.base import Metric, column_sums, percent

_PREFIXES = "BIES"


def split_tag(tag: str) -> tuple[str, str]:
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
        prefix, kind = split_tag(tag)
        if prefix in "IE" and before in "BI" and kind == before_type:
            found[-1] = (kind, found[-1][1], position)
        elif prefix != "O":
            found.append((kind, position, position))
        before, before_type = prefix, kind
    return set(found)


class SpanCounts(Metric[Sequence[str], Sequence[str]]):
    """Precision, recall and F1 in percent over what is read in the tags of all sentences."""

    predictions = "tags"

    @staticmethod
    def read(tags: Sequence[str]) -> AbstractSet[object]:
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
        if len(references) != 1:
            raise ValueError(
                f"{self.name}: a sentence has {len(references)} references; it takes exactly one tag list."
            )
        if len(prediction) != len(references[0]):
            raise ValueError(
                f"{self.name}: {len(prediction)} predicted tags for {len(references[0])} gold tags; give one tag a "
                "token."
            )
        predicted, gold = self.read(prediction), self.read(references[0])
        return [len(predicted & gold), len(predicted), len(gold)]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """F1, precision and recall in percent from statistics [N, 3]; 0 where a denominator is 0."""
        correct, predicted, gold = column_sums(statistics, 3)
        values = (percent(2 * correct, predicted + gold), percent(correct, predicted), percent(correct, gold))
        return dict(zip(self.outputs, values, strict=True))
