"""F1 over all answers and exact match of questions: the two values of MultiRC."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.metrics.base import Metric, column_sums
from repro.metrics.f1 import binary_counts, f1_percent
from repro.metrics.registry import register


@register("multirc")
class MultircF1aEm(Metric[Sequence[int], Sequence[int]]):
    """F1 of the class True over the answers of all questions, and the share of questions with every answer right.

    Prompt tuning (Lester et al. 2021) reports and averages both; P-Tuning v2 (Liu et al. 2022) reports the F1 alone.
    What is scored at a time is a question (`grouped`): the list of its answers' class ids. An output that names no
    class (-1) is wrong, and for the F1 counts as the other class.
    """

    name = "multirc"
    equals = (
        "T5 evaluation.metrics.multirc_f1_over_all_answers and mean_group_metric(all_match); "
        "scikit-learn 1.9.1 f1_score(zero_division=0), times 100"
    )
    outputs = main = ("f1a", "exact_match")
    predictions = "labels"
    grouped = True

    def score(self, prediction: Sequence[int], references: Sequence[Sequence[int]]) -> list[int]:
        """Statistics [true positive, false positive, false negative, all right, 1] of one question.

        Args:
            prediction: class ids of its answers, -1 where the output named none.
            references: the one list of gold class ids, as long as the prediction.

        Raises:
            ValueError: not exactly one list, lists of unequal length or without an answer, or an id that is no class.
        """
        if len(references) != 1 or len(prediction) != len(references[0]) or not len(prediction):
            lengths = [len(gold) for gold in references]
            raise ValueError(
                f"multirc: {len(prediction)} predictions for gold lists of {lengths} answers; give one list, with a "
                "class id for every answer of the question."
            )
        pairs = list(zip(prediction, references[0], strict=True))
        counts = np.sum([binary_counts(said, gold) for said, gold in pairs], axis=0)
        return [*(int(count) for count in counts), int(all(said == gold for said, gold in pairs)), 1]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """F1a and exact match in percent from statistics [questions, 5]."""
        *counts, right, questions = column_sums(statistics, 5)
        return {"f1a": f1_percent(*counts), "exact_match": float(100.0 * right / questions) if questions else 0.0}
