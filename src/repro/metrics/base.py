"""What a metric is: statistics of one example, and a reduction over examples.

Keeping the statistics makes a paired bootstrap one matrix product, and any aggregate can be recomputed from a record
without scoring again (architecture: Metric).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

TASK_SCORE = "task_score"
"""A task's mean over its main values, in records of classification tasks with two or more (SPoT's name for it)."""


class Metric(Protocol):
    """One scorer. Values are in percent (0 to 100), as the papers print them, unless `unit` says otherwise."""

    name: str
    """Key of the metric in configs and records."""
    equals: str
    """Reference scorer, its version and mode."""
    outputs: tuple[str, ...]
    """Names of the values that `reduce` returns; the first is the metric's main value."""
    higher_is_better: bool
    # A metric may have `main`, the values that may be averaged with those of a task's other metrics, and `grouped`: it
    # scores the examples of one `Example.group` at a time, as lists in their order.

    def score(self, prediction: Any, references: Sequence[Any]) -> Sequence[float]:
        """Sufficient statistics [S] of one example.

        Args:
            prediction: a class id (-1 when the output named no class), a list of tags, or a string.
            references: the gold answers of the same type, at least one.
        """
        ...

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """Corpus values from statistics [N, S] (a sum over the first axis is enough for every metric)."""
        ...


def main_values(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Each metric's main values: those it names in `main`, or its first."""
    return tuple(name for metric in metrics for name in getattr(metric, "main", metric.outputs[:1]))


def averaged_values(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """The two or more values whose mean is the task's score; none where a metric has no `main` (BLEU and NIST, say, are
    not to be averaged), or where there is only one."""
    names = main_values(metrics) if all(hasattr(metric, "main") for metric in metrics) else ()
    return names if len(names) > 1 else ()


def task_score(names: Sequence[str], values: Mapping[str, float]) -> float:
    """The unweighted mean of the named values.

    Raises:
        ValueError: there is no name.
        KeyError: a value is missing.
    """
    if not names:
        raise ValueError("task_score: no value is named, so there is nothing to average.")
    return sum(values[name] for name in names) / len(names)
