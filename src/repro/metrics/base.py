"""What a metric is: statistics of one example, and a reduction over examples.

Keeping the statistics makes a paired bootstrap one matrix product, and any aggregate can be recomputed from a record
without scoring again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from repro.errors import MetricUnavailable as MetricUnavailable

TASK_SCORE = "task_score"
"""A task's mean over its main values, in records of classification tasks with two or more (SPoT's name for it)."""

Prediction = TypeVar("Prediction")
Reference = TypeVar("Reference")
Rows: TypeAlias = list[list[float]]
"""Statistics [N, S], a row an example."""
Values: TypeAlias = dict[str, float]
AnyMetric: TypeAlias = "Metric[Any, Any]"
"""A metric of a kind of prediction that is known only at run time."""


class Metric(Generic[Prediction, Reference]):
    """One scorer. Values are in percent (0 to 100), as the papers print them, unless `units` says otherwise.

    A metric defines `reduce` and `score`, or `score_all` where scoring a whole split at once is cheaper (a Java
    process, batches of examples). One that has only the value of a whole split defines `score_split` alone; such a
    value gets no bootstrap. Any of them may raise `MetricUnavailable`: the value is then missing, with the reason, and
    never 0.
    """

    name: str
    """Key of its statistics in a record."""
    equals: str
    """Reference scorer, its version and mode."""
    outputs: tuple[str, ...]
    """Names of the values that `reduce` returns; the first is the metric's main value."""
    higher_is_better: bool = True
    main: tuple[str, ...] = ()
    """The values that may be averaged with those of a task's other metrics; empty: its first, which may not."""
    predictions: str = "text"
    """What is scored: text, label (a class id), labels (those of a group), tags, or answer (a span and its odds)."""
    grouped: bool = False
    """The examples of one `Example.group` are scored together, as lists in their order."""
    every_row: bool = False
    """`reduce` needs every row and not only their sum; such values get no bootstrap."""
    costly: bool = False
    """Left out of evaluations during training, unless a checkpoint is selected by it."""
    units: Mapping[str, str] = MappingProxyType({})
    """{value name: unit} of values that are not in percent."""
    needs: str = ""
    """What must be installed, for docs/metrics.md."""
    golden: str = ""
    """What proves the value, for docs/metrics.md; empty: the tests that name the class."""

    def check(self) -> None:
        """Refuse a metric that cannot work, before anything is read or trained; raises ConfigError."""

    def unavailable(self) -> str | None:
        """Why it cannot run on this machine, as far as that can be told without running it."""
        return None

    def check_answers(self, references: Sequence[Sequence[Reference]]) -> None:
        """Refuse gold answers that this metric would silently count as nothing; raises ConfigError."""

    def bound(self, references: Sequence[Sequence[Reference]]) -> Metric[Prediction, Reference]:
        """This metric for one split, where it weighs n-grams by all its references (NIST, CIDEr)."""
        return self

    def score(self, prediction: Prediction, references: Sequence[Reference]) -> Sequence[float]:
        """Sufficient statistics [S] of one example.

        Args:
            prediction: a class id (-1 when the output named no class), a list of tags, or a string.
            references: the gold answers of the same type, at least one.
        """
        return self.score_all([prediction], [references])[0]

    def score_all(
        self, predictions: Sequence[Prediction], references: Sequence[Sequence[Reference]]
    ) -> Sequence[Sequence[float]]:
        """Statistics [N, S] of a split to whose references the metric is bound."""
        return [self.score(output, golds) for output, golds in zip(predictions, references, strict=True)]

    def reduce(self, statistics: np.ndarray) -> Values:
        """Corpus values from statistics [N, S]; their sum over the first axis is enough, but for `every_row`."""
        raise NotImplementedError

    def score_split(
        self, predictions: Sequence[Prediction], references: Sequence[Sequence[Reference]]
    ) -> tuple[Values, Rows | None]:
        """Values of a split, and its statistics [N, S]; None for a metric that has only the split's value.

        Raises:
            MetricUnavailable: it cannot be computed on this machine.
        """
        metric = self.bound(references)
        rows = [[float(number) for number in row] for row in metric.score_all(predictions, references)]
        return metric.reduce(np.asarray(rows)), rows


class MeanMetric(Metric[Prediction, Reference]):
    """The mean over examples of values whose statistics are [value 1, ..., value n, weight]."""

    factor: float = 100.0
    """Times the mean."""

    def reduce(self, statistics: np.ndarray) -> Values:
        """Weighted means from statistics [N, values + 1]."""
        *totals, weight = column_sums(statistics, len(self.outputs) + 1)
        return {
            name: float(self.factor * total / weight) if weight else 0.0
            for name, total in zip(self.outputs, totals, strict=True)
        }


def column_sums(statistics: np.ndarray, width: int) -> np.ndarray:
    """The sums [S] of statistics [N, S] of which there may be none."""
    sums: np.ndarray = np.asarray(statistics, dtype=float).reshape(-1, width).sum(axis=0)
    return sums


def percent(part: float, total: float) -> float:
    """`part` of `total` in percent, 0 if there is nothing."""
    return float(100.0 * part / total) if total else 0.0


def main_values(metrics: Iterable[AnyMetric]) -> tuple[str, ...]:
    """Each metric's main values: those it names in `main`, or its first."""
    return tuple(name for metric in metrics for name in metric.main or metric.outputs[:1])


def averaged_values(metrics: Sequence[AnyMetric]) -> tuple[str, ...]:
    """The two or more values whose mean is the task's score; none where a metric has no `main` (BLEU and NIST, say, are
    not to be averaged), or where there is only one."""
    names = main_values(metrics) if all(metric.main for metric in metrics) else ()
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


def texts(name: str, references: Sequence[str | None], most: int | None = None) -> list[str]:
    """The first `most` reference texts; None is padding and left out.

    Raises:
        ValueError: no reference but padding.
    """
    kept = [text for text in references if text is not None][:most]
    if not kept:
        raise ValueError(f"{name}: an output has no reference text; every example needs at least one.")
    return kept
