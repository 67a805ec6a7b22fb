"""F1 and exact match of ReCoRD."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.metrics.squad import SquadEmF1


class RecordF1Em:
    """SQuAD's token F1 and exact match of the answer, each the highest over the gold answers, one row a query.

    Prompt tuning (Lester et al. 2021) reports and averages both; P-Tuning v2 (Liu et al. 2022) reports the F1.
    """

    name: str = "record"
    equals: str = (
        "T5 evaluation.metrics.deduplicate_metric(squad), whose rules are those of SQuAD's evaluate-v1.1.py; "
        "evaluate 0.4.6 super_glue/record, times 100"
    )
    outputs: tuple[str, ...] = ("f1", "exact_match")
    main: tuple[str, ...] = outputs
    higher_is_better: bool = True

    def __init__(self) -> None:
        self._rule = SquadEmF1()

    def score(self, prediction: str, references: Sequence[str]) -> list[float]:
        """Statistics [F1, exact match, 1] of one query, from 0 to 1.

        Raises:
            ValueError: there is no gold answer.
        """
        return self._rule.score(prediction, references)

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """F1 and exact match in percent from statistics [N, 3]."""
        return self._rule.reduce(statistics)
