"""Accuracy of class predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.metrics.base import Metric, column_sums
from repro.metrics.registry import register


@register("accuracy")
class Accuracy(Metric[int, int]):
    """Percent of examples whose class was predicted.

    An output that names no class (-1) is wrong, as in T5's evaluation, where no label is ever -1.
    """

    name = "accuracy"
    equals = "scikit-learn 1.9.1 accuracy_score, times 100"
    outputs = main = ("accuracy",)
    predictions = "label"

    def score(self, prediction: int, references: Sequence[int]) -> list[int]:
        """Statistics [correct, 1] of one example.

        Args:
            prediction: a class id, -1 when the output named no class.
            references: the gold class ids; any of them is right.

        Raises:
            ValueError: there is no reference.
        """
        if len(references) == 0:
            raise ValueError("accuracy: an example has no reference; score only splits whose labels are public.")
        return [int(prediction != -1 and prediction in references), 1]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """Accuracy in percent from statistics [N, 2].

        Raises:
            ValueError: there is no example.
        """
        correct, total = column_sums(statistics, 2)
        if total == 0:
            raise ValueError("accuracy: there is no example to average over; check the split and its limit.")
        return {"accuracy": float(100.0 * correct / total)}
