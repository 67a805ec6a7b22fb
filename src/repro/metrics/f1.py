"""F1 of one of two classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.metrics.base import Metric, column_sums
from repro.metrics.registry import register


def binary_counts(prediction: int, gold: int) -> list[int]:
    """[true positive, false positive, false negative] of class 1, for one example of two classes.

    An output that names no class (-1) counts as the class that is wrong (T5's `f1_score_with_invalid`).

    Raises:
        ValueError: an id that is no class.
    """
    if gold not in (0, 1) or prediction not in (-1, 0, 1):
        raise ValueError(f"f1: prediction {prediction} and gold {gold}: class ids 0 and 1 are needed, -1 for no class.")
    said = 1 - gold if prediction == -1 else prediction
    return [int(said == gold == 1), int(said > gold), int(said < gold)]


def f1_percent(correct: float, false_positive: float, false_negative: float) -> float:
    """F1 in percent of summed counts; 0 where class 1 is neither gold nor predicted."""
    whole = 2 * correct + false_positive + false_negative
    return float(200.0 * correct / whole) if whole else 0.0


@register("f1")
class BinaryF1(Metric[int, int]):
    """F1 of class 1 in percent, T5's for MRPC (equivalent) and QQP (duplicate): Lester et al. 2021, Table 2."""

    name = "f1"
    equals = (
        "T5 evaluation.metrics.f1_score_with_invalid; on class ids 0 and 1 scikit-learn 1.9.1 "
        "f1_score(zero_division=0), times 100"
    )
    outputs = main = ("f1",)
    predictions = "label"

    def score(self, prediction: int, references: Sequence[int]) -> list[int]:
        """Statistics [true positive, false positive, false negative] of one example.

        Args:
            prediction: a class id, -1 when the output named no class.
            references: the one gold class id.

        Raises:
            ValueError: not exactly one reference, or an id that is no class.
        """
        if len(references) != 1:
            raise ValueError(f"f1: an example has {len(references)} references; it takes exactly one class id.")
        return binary_counts(prediction, references[0])

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """F1 in percent from statistics [N, 3]."""
        return {"f1": f1_percent(*column_sums(statistics, 3))}
