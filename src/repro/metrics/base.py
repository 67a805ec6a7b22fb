"""What a metric is: statistics of one example, and a reduction over examples.

Keeping the statistics makes a paired bootstrap one matrix product, and any aggregate can be recomputed from a record
without scoring again (architecture: Metric).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from repro.errors import MetricUnavailable as MetricUnavailable

TASK_SCORE = "task_score"
"""A task's mean over its main values, in records of classification tasks with two or more (SPoT's name for it)."""


class Metric(Protocol):
    """One scorer. Values are in percent (0 to 100), as the papers print them, unless `units` says otherwise.

    A metric may have more than is required here:

    - `prepare(references) -> Metric`: it weighs n-grams by the references of the whole split (NIST, CIDEr). The result
      is bound to these references, scores any number of systems, and its `reduce` is the same.
    - `score_all(predictions, references) -> rows`: it scores a split in one go (a Java process, batches of examples);
      `score` is then for one example alone.
    - `corpus(predictions, references) -> {name: value}`: only the value of the whole split exists, no statistics. It
      has no `score` and no `reduce`, and such values get no bootstrap.
    - `unavailable() -> str | None`: why it cannot run here, said before anything is trained.
    - `every_row`: True where `reduce` needs every row and not only their sum; such values get no bootstrap.
    - `costly`: True leaves it out of evaluations during training, unless a checkpoint is selected by it.
    - `units`: {value name: unit} of values that are not in percent.
    - `needs`, `golden`: sentences for docs/metrics.md (what must be installed; what proves the value).

    Any of them may raise `MetricUnavailable`: the value is then missing, with the reason, and never 0.
    """

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
        """Corpus values from statistics [N, S]; their sum over the first axis is enough, but for `every_row`."""
        ...


def main_values(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Each metric's main values: those it names in `main`, or its first. Metrics beside a task's own have no part."""
    return tuple(name for metric in _own(metrics) for name in getattr(metric, "main", metric.outputs[:1]))


def averaged_values(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """The two or more values whose mean is the task's score; none where a metric has no `main` (BLEU and NIST, say, are
    not to be averaged), or where there is only one."""
    names = main_values(metrics) if all(hasattr(metric, "main") for metric in _own(metrics)) else ()
    return names if len(names) > 1 else ()


def _own(metrics: Sequence[Metric]) -> list[Metric]:
    """Without those of `task.also_metrics`, which the runner marks as `beside`."""
    return [metric for metric in metrics if not getattr(metric, "beside", False)]


def task_score(names: Sequence[str], values: Mapping[str, float]) -> float:
    """The unweighted mean of the named values.

    Raises:
        ValueError: there is no name.
        KeyError: a value is missing.
    """
    if not names:
        raise ValueError("task_score: no value is named, so there is nothing to average.")
    return sum(values[name] for name in names) / len(names)


Rows = list[list[float]]


def score_split(
    metric: Any, predictions: Sequence[Any], references: Sequence[Sequence[Any]]
) -> tuple[dict[str, float], Rows | None]:
    """Values of a split, and its statistics [N, S]; None for a metric that has only the split's value.

    Args:
        metric: a `Metric`, with or without its optional parts.
        predictions: one an example.
        references: the gold answers of each example.

    Raises:
        MetricUnavailable: it cannot be computed on this machine.
    """
    if hasattr(metric, "corpus"):
        return dict(metric.corpus(predictions, references)), None
    if hasattr(metric, "prepare"):
        metric = metric.prepare(references)
    if hasattr(metric, "score_all"):
        found = metric.score_all(predictions, references)
    else:
        found = [metric.score(p, own) for p, own in zip(predictions, references, strict=True)]
    rows = [[float(number) for number in row] for row in found]
    return metric.reduce(np.asarray(rows)), rows


def why_unavailable(metric: Any) -> str | None:
    """The reason why a metric cannot run here, as far as that can be told without running it."""
    return metric.unavailable() if hasattr(metric, "unavailable") else None


def texts(name: str, references: Sequence[str | None], most: int | None = None) -> list[str]:
    """The first `most` reference texts; None is padding and left out.

    Raises:
        ValueError: no reference but padding.
    """
    found = [text for text in references if text is not None][:most]
    if not found:
        raise ValueError(f"{name}: an output has no reference text; every example needs at least one.")
    return found
