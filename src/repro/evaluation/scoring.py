"""Score the predictions of a split, and detect degenerate output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from repro.errors import MetricUnavailable
from repro.metrics.base import TASK_SCORE, AnyMetric, Rows, Values, averaged_values, main_values, task_score
from repro.tasks.base import Example, Task, every_metric
from repro.tasks.tags import OUTSIDE


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split. `values` are in percent."""

    values: Values = field(default_factory=dict)
    statistics: dict[str, Rows] = field(default_factory=dict)
    """{metric name: [N, S]} of the metrics that have any, a row an example. What a metric says of several together
    (`Metric.grouped`) stands in the row of the first of them, and zeros in the others': sums over rows, or over
    clusters of rows, are right."""
    predictions: list[object] = field(default_factory=list)
    collapsed: str | None = None
    """Why the outputs carry no information, as a sentence; None when they do."""
    cut: int = 0
    """Tags lost to truncation, predicted and gold alike (as the official tagging code loses them)."""
    missing: dict[str, str] = field(default_factory=dict)
    """{value name: why it could not be computed on this machine}."""
    uncut: Values = field(default_factory=dict)
    """Where tags were cut: the values over all gold words, those that the model did not see counting as outside."""


def score(
    task: Task, examples: Sequence[Example], predictions: Sequence[object], selection: str | None = None
) -> Evaluation:
    """Every metric of the task over the split; of a mixture, each part's own over its examples, and their average.

    Args:
        selection: the value by which a checkpoint is chosen: costly metrics that do not give it are left out.
    """
    if task.parts:
        return _score_parts(task, examples, predictions)
    golds = [_gold(example, prediction) for example, prediction in zip(examples, predictions, strict=True)]
    values: Values = {}
    statistics: dict[str, Rows] = {}
    missing: dict[str, str] = {}
    for metric in every_metric(task):
        if selection is not None and metric.costly and selection not in metric.outputs:
            continue
        try:
            metric_values, rows = scored(metric, examples, predictions, golds)
        except MetricUnavailable as error:
            missing |= dict.fromkeys(metric.outputs, str(error))
            continue
        values |= metric_values
        if rows is not None:
            statistics[metric.name] = rows
    names = averaged_values(task.metrics)
    if names and all(name in values for name in names):
        values[TASK_SCORE] = task_score(names, values)
    cut = sum(_length(e.references[0]) - _length(g[0]) for e, g in zip(examples, golds, strict=True))
    collapsed = degenerate_output(predictions, golds)
    uncut = _over_all_words(task, examples, predictions, values) if cut and selection is None else {}
    return Evaluation(values, statistics, list(predictions), collapsed, cut, missing, uncut)


def _over_all_words(task: Task, examples: Sequence[Example], predictions: Sequence[object], values: Values) -> Values:
    """The metrics that gave `values`, with `O` for every word that was cut off."""
    filled = [
        [*prediction, *[OUTSIDE] * (_length(example.references[0]) - len(prediction))]
        if isinstance(prediction, list)
        else prediction
        for example, prediction in zip(examples, predictions, strict=True)
    ]
    golds = [tuple(example.references) for example in examples]
    uncut: Values = {}
    for metric in every_metric(task):
        if values.keys() >= set(metric.outputs):  # one that this machine cannot compute gave none
            uncut |= scored(metric, examples, filled, golds)[0]
    return uncut


def higher_is_better(task: Task, value_name: str) -> bool:
    """Whether a larger value is the better one; a loss and TER are not so."""
    return value_name != "loss" and all(m.higher_is_better for m in every_metric(task) if value_name in m.outputs)


def scored(
    metric: AnyMetric, examples: Sequence[Example], predictions: Sequence[object], golds: Sequence[tuple[Any, ...]]
) -> tuple[Values, Rows | None]:
    """A metric's values, and its statistics, a row an example."""
    if not metric.grouped:
        return metric.score_split(predictions, golds)
    groups: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example.id if example.group is None else example.group, []).append(index)
    group_rows = {
        members[0]: metric.score([predictions[i] for i in members], [[golds[i][0] for i in members]])
        for members in groups.values()
    }
    zeros = [0.0] * len(next(iter(group_rows.values()))) if group_rows else []
    rows = [list(map(float, group_rows.get(index, zeros))) for index in range(len(examples))]
    return metric.reduce(np.asarray(rows)), rows


def _score_parts(task: Task, examples: Sequence[Example], predictions: Sequence[object]) -> Evaluation:
    mixture = Evaluation(predictions=list(predictions))
    means, collapsed, cut = [], [], 0
    for name, part in task.parts.items():
        chosen = [index for index, example in enumerate(examples) if example.meta["part"] == name]
        scores = score(part, [examples[index] for index in chosen], [predictions[index] for index in chosen])
        mixture.values.update({f"{name}.{key}": value for key, value in scores.values.items()})
        mixture.statistics.update({f"{name}.{key}": rows for key, rows in scores.statistics.items()})
        mixture.missing.update({f"{name}.{key}": reason for key, reason in scores.missing.items()})
        names = main_values(part.metrics)
        means += [task_score(names, scores.values)] if all(key in scores.values for key in names) else []
        collapsed += [f"{name}: {scores.collapsed}"] if scores.collapsed else []
        cut += scores.cut
        mixture.uncut.update({f"{name}.{key}": value for key, value in scores.uncut.items()})
    values = mixture.values
    if len(means) == len(task.parts):
        values = {"average": sum(means) / len(means), **values}
    else:
        reasons = "; ".join(dict.fromkeys(mixture.missing.values()))
        mixture.missing["average"] = f"a part has no value: {reasons}"
    reason = "; ".join(collapsed) or None
    return replace(mixture, values=values, collapsed=reason, cut=cut)


def subsets(split: str, examples: Sequence[Example]) -> dict[str, list[int]]:
    """{`<split>_<subset>`: positions of its examples}, by `Example.meta["subset"]`; empty where no example has one."""
    positions: dict[str, list[int]] = {}
    for position, example in enumerate(examples):
        if "subset" in example.meta:
            positions.setdefault(f"{split}_{example.meta['subset']}", []).append(position)
    return positions


def score_subset(task: Task, statistics: Mapping[str, Sequence[Sequence[float]]], members: Sequence[int]) -> Values:
    """{value name: value} of a part of a split, from the statistics of the whole: nothing is decoded or scored again.

    Args:
        statistics: of the whole split, {metric name: [N, S]}.
        members: positions of the part's examples.
    """
    values: Values = {}
    for metric in every_metric(task):
        if metric.name in statistics:
            values |= metric.reduce(np.asarray([statistics[metric.name][position] for position in members]))
    return values


def _length(gold: object) -> int:
    return len(gold) if isinstance(gold, list | tuple) else 0


def _gold(example: Example, prediction: object) -> tuple[Any, ...]:
    """References; of a tagged sentence only the words that survived truncation."""
    if isinstance(prediction, list) and _length(example.references[0]) > len(prediction):
        return tuple(list(reference)[: len(prediction)] for reference in example.references)
    return tuple(example.references)


def degenerate_output(predictions: Sequence[Any], golds: Sequence[Sequence[object]]) -> str | None:
    """A sentence if all outputs are alike though the answers are not; None otherwise."""
    if len({repr(gold) for gold in golds}) < 2:
        return None
    if all(isinstance(prediction, list) for prediction in predictions):
        tags = {tag for sentence in predictions for tag in sentence} or {"O"}
        return f"every word of the split is tagged {tags.pop()}" if len(tags) == 1 else None
    outputs = [prediction["text"] if isinstance(prediction, Mapping) else prediction for prediction in predictions]
    if len({repr(output) for output in outputs}) > 1:
        return None
    only = outputs[0]
    if only == "" or only == -1:
        return "every output is empty" if only == "" else "no output names a class"
    return f"every output is the same: {only!r}"
