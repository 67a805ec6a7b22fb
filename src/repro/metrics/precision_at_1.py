"""Precision at 1 of a gap that any word may fill (LAMA)."""

from __future__ import annotations

from collections.abc import Sequence

from repro.metrics.base import MeanMetric
from repro.metrics.registry import register


@register("precision_at_1")
class PrecisionAt1(MeanMetric[str, str]):
    """The share of facts, in percent, whose object is the likeliest word of the vocabulary.

    Over the facts of one relation; the papers average relations with equal weight (Liu et al. 2021, Table 3).
    """

    name = "precision_at_1"
    equals = "hit@1 of THUDM/P-tuning, LAMA/p_tuning/modeling.py"
    outputs = ("precision_at_1",)

    def score(self, prediction: str, references: Sequence[str]) -> list[float]:
        """Statistics [hit, 1] of one fact.

        Raises:
            ValueError: there is no gold object.
        """
        if not references:
            raise ValueError("precision_at_1: a fact has no object; score only splits whose objects are known.")
        return [float(prediction in references), 1.0]
