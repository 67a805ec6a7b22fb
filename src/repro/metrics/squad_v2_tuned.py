"""Exact match and F1 of SQuAD 2.0 at the best threshold for "no answer"."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from repro.metrics.base import Metric, percent
from repro.metrics.registry import register
from repro.metrics.squad import require_references
from repro.metrics.squad_v2 import Answer, answerable, v2_scores


@register("squad_v2_tuned")
class SquadV2Tuned(Metric[Answer, str]):
    """The highest exact match and F1 in percent that any threshold for "no answer" reaches on this very split.

    Each is optimistic, since the threshold is chosen on the answers it is scored with; P-Tuning v2 reports the fixed
    threshold instead. Of a model that generates text there is no score to put a threshold on: its "no answer" counts
    as certain, and only "as said" and "never an answer" compete.

    Deviation: questions of equal odds change sides together; the official script may stop between them, in the order
    of the file.
    """

    name = "squad_v2_tuned"
    equals = "SQuAD evaluate-v2.0.py find_best_thresh over null odds: best_exact, best_f1 and their thresholds"
    outputs = ("best_f1", "best_exact_match", "best_f1_threshold", "best_exact_match_threshold")
    every_row = True
    predictions = "answer"
    units = MappingProxyType(dict.fromkeys(("best_f1_threshold", "best_exact_match_threshold"), "logits"))

    def score(self, prediction: Answer, references: Sequence[str]) -> list[float]:
        """Statistics [F1 gained, exact match gained, unanswerable, null odds] of one question.

        Gained is what answering changes: the score of an answerable question, -1 where an unanswerable one is answered.

        Raises:
            ValueError: there is no gold answer, not even the empty one.
        """
        require_references(self.name, references)
        if isinstance(prediction, str):
            answer, odds = prediction, float(not prediction)
        else:
            answer, odds = prediction["answer"], float(prediction["null_odds"])
        if answerable(references):
            return [*v2_scores(answer, references), 0.0, odds]
        lost = -1.0 if answer else 0.0
        return [lost, lost, 1.0, odds]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """In percent, and the thresholds in the unit of the odds, from statistics [N, 4]. Needs every row: no sum."""
        rows = np.asarray(statistics, dtype=float).reshape(-1, 4)
        rows = rows[rows[:, 3].argsort(kind="stable")]
        last_of_equals = np.append(np.diff(rows[:, 3]) > 0, True) if len(rows) else np.zeros(0, dtype=bool)
        values: dict[str, float] = {}
        for column, name in enumerate(("best_f1", "best_exact_match")):
            reached = rows[:, 2].sum() + np.concatenate([[0.0], rows[:, column].cumsum()[last_of_equals]])
            thresholds = np.concatenate([[0.0], rows[last_of_equals, 3]])
            best = int(reached.argmax())
            values |= {name: percent(reached[best], len(rows)), f"{name}_threshold": float(thresholds[best])}
        return {name: values[name] for name in self.outputs}
