"""Unweighted mean of the F1 scores of all classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.metrics.base import Metric, column_sums
from repro.metrics.registry import register


@register("f1_macro")
class MacroF1(Metric[int, int]):
    """Macro F1 in percent: the F1 of CB (SuperGLUE, Wang et al. 2019: the unweighted mean of the F1 of its 3 classes).

    An output that names no class (-1) is a false negative of the gold class and a false positive of none. A class with
    neither gold nor predicted examples has F1 0 and still counts in the mean.

    Args:
        classes: number of classes C, at least 2. None: as many as the task has labels.

    Raises:
        ValueError: fewer than 2 classes.
    """

    name = "f1_macro"
    equals = "scikit-learn 1.9.1 f1_score(average='macro', labels=range(C), zero_division=0), times 100"
    outputs = main = ("f1_macro",)
    predictions = "label"

    def __init__(self, classes: int | None = None) -> None:
        if classes is not None and classes < 2:
            raise ValueError(f"f1_macro: classes is {classes}; give the number of classes of the task, at least 2.")
        self._classes = classes

    @property
    def classes(self) -> int:
        """The number of classes; raises ValueError where neither an option nor a task gave it."""
        if self._classes is None:
            raise ValueError("f1_macro: the number of classes is not known; give `classes`, or the task's labels.")
        return self._classes

    def score(self, prediction: int, references: Sequence[int]) -> list[int]:
        """Statistics [3 C] of one example: true positive, false positive, false negative of class 0, of class 1, ...

        Args:
            prediction: a class id, -1 when the output named no class.
            references: the one gold class id.

        Raises:
            ValueError: not exactly one reference, or an id that is no class.
        """
        gold = self._gold(references)
        if not -1 <= prediction < self.classes:
            raise ValueError(f"f1_macro: the prediction {prediction} is not -1 or a class id below {self.classes}.")
        counts = [[0, 0, 0] for _ in range(self.classes)]
        if prediction == gold:
            counts[gold][0] = 1
        else:
            counts[gold][2] = 1
            if prediction != -1:
                counts[prediction][1] = 1
        return [count for triple in counts for count in triple]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """Macro F1 in percent from statistics [N, 3 C]."""
        classes = self._classes or np.shape(statistics)[-1] // 3
        correct, false_positive, false_negative = column_sums(statistics, 3 * classes).reshape(classes, 3).T  # [C] each
        denominator = 2 * correct + false_positive + false_negative
        # Without gold and predictions the numerator is 0 as well: dividing by 1 gives the agreed F1 of 0.
        f1 = 2 * correct / np.where(denominator == 0, 1.0, denominator)
        return {"f1_macro": float(100.0 * f1.mean())}

    def _gold(self, references: Sequence[int]) -> int:
        if len(references) != 1:
            raise ValueError(f"f1_macro: an example has {len(references)} references; it takes exactly one class id.")
        gold = references[0]
        if not 0 <= gold < self.classes:
            raise ValueError(f"f1_macro: the reference {gold} is not a class id from 0 to {self.classes - 1}.")
        return gold
