"""Precision at 1 of a gap that any word may fill (LAMA)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class PrecisionAt1:
    """The share of facts, in percent, whose object is the likeliest word of the vocabulary.

    Over the facts of one relation; the papers average relations with equal weight (Liu et al. 2021, Table 3).
    """

    name: str = "precision_at_1"
    equals: str = "hit@1 of THUDM/P-tuning, LAMA/p_tuning/modeling.py"
    outputs: tuple[str, ...] = ("precision_at_1",)
    higher_is_better: bool = True

    def score(self, prediction: str, references: Sequence[str]) -> list[float]:
        """Statistics [hit, 1] of one fact.

        Raises:
            ValueError: there is no gold object.
        """
        if not references:
            raise ValueError("precision_at_1: a fact has no object; score only splits whose objects are known.")
        return [float(prediction in references), 1.0]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """In percent, from statistics [N, 2]."""
        hits, total = np.asarray(statistics, dtype=float).reshape(-1, 2).sum(axis=0)
        return {"precision_at_1": float(100.0 * hits / total) if total else 0.0}
