"""Exact match and F1 of SQuAD 2.0, whose questions may have no answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypedDict

import numpy as np

from repro.metrics.base import Metric, column_sums, percent
from repro.metrics.registry import register
from repro.metrics.squad import exact_match, normalised, require_references, token_f1


class SpanOutput(TypedDict):
    """What a span model says to a question that may have no answer."""

    text: str
    """The answer at the fixed threshold; empty: none."""
    answer: str
    """The best piece of the context."""
    null_odds: float
    """The score of no answer minus that piece's."""


Answer: TypeAlias = str | SpanOutput
"""A text (empty: no answer), or what a span model says."""


def v2_scores(prediction: str, references: Sequence[str]) -> tuple[float, float]:
    """F1 and exact match of one question of SQuAD 2.0, whose gold answer may be none (the empty text)."""
    golds = [gold for gold in references if normalised(gold)] or [""]
    return max(_v2_f1(prediction, gold) for gold in golds), max(exact_match(prediction, gold) for gold in golds)


def _v2_f1(prediction: str, gold: str) -> float:
    """As `token_f1`; where either text is empty once normalised, 1 if both are."""
    if not normalised(prediction) or not normalised(gold):
        return float(normalised(prediction) == normalised(gold))
    return token_f1(prediction, gold)


def answerable(references: Sequence[str]) -> bool:
    """Whether the question has an answer: an unanswerable one has the empty text as its only reference."""
    return any(references)


@register("squad_v2")
class SquadV2EmF1(Metric[Answer, str]):
    """Exact match and F1 in percent with questions that have no answer, which the empty text says (SQuAD 2.0).

    A span model says "no answer" where that scores higher than its best piece by more than the fixed threshold (0 in
    P-Tuning v2). The same two over answerable and unanswerable questions alone are given too.
    """

    name = "squad_v2"
    equals = "SQuAD evaluate-v2.0.py: exact, f1, HasAns_*, NoAns_* without a no-answer file"
    outputs = ("f1", "exact_match", "f1_answerable", "exact_match_answerable", "f1_unanswerable")

    def score(self, prediction: Answer, references: Sequence[str]) -> list[float]:
        """Statistics [F1, exact match, 1] of one question, then the same three if it is answerable, else zeros.

        Raises:
            ValueError: there is no gold answer, not even the empty one.
        """
        require_references(self.name, references)
        text = prediction if isinstance(prediction, str) else prediction["text"]
        row = [*v2_scores(text, references), 1.0]
        return row + (row if answerable(references) else [0.0, 0.0, 0.0])

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """In percent, from statistics [N, 6]."""
        f1, exact, total, has_f1, has_exact, has = column_sums(statistics, 6)
        return {
            "f1": percent(f1, total),
            "exact_match": percent(exact, total),
            "f1_answerable": percent(has_f1, has),
            "exact_match_answerable": percent(has_exact, has),
            "f1_unanswerable": percent(exact - has_exact, total - has),  # its F1 is its exact match
        }
