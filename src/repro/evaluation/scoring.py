"""Decode a split, score it, and notice when a model has stopped saying anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repro.methods.base import Injection
from repro.metrics.base import (
    TASK_SCORE,
    MetricUnavailable,
    Rows,
    averaged_values,
    main_values,
    score_split,
    task_score,
)
from repro.models.encoding.batch import Encoded, collate
from repro.models.encoding.span_encoding import best_answer, separated
from repro.models.interface import ModelAdapter
from repro.models.threads import side_by_side
from repro.tasks.base import Example, Task


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split. `values` are in percent."""

    values: dict[str, float]
    statistics: dict[str, Rows]
    """{metric name: [N, S]} of the metrics that have any, a row an example. What a metric says of several together
    (`Metric.grouped`) stands in the row of the first of them, and zeros in the others': sums over rows, or over
    clusters of rows, are right."""
    predictions: list[Any]
    collapsed: str | None
    """Why the outputs carry no information, as a sentence; None when they do."""
    cut: int
    """Tags lost to truncation, predicted and gold alike (as the official tagging code loses them)."""
    missing: dict[str, str] = field(default_factory=dict)
    """{value name: why it could not be computed on this machine}."""


EncodeAll = Callable[[Sequence[Example], bool], list[list[Encoded]]]
"""(examples, training?) -> the sequences of each."""


def encoded_by(adapter: ModelAdapter, task: Task) -> EncodeAll:
    """Renders and tokenises, keeping nothing."""
    return lambda examples, training: [adapter.encode(task.render(example), training) for example in examples]


def predict(
    adapter: ModelAdapter,
    task: Task,
    examples: Sequence[Example],
    injection: Injection,
    decoding: Mapping[str, Any],
    batch_size: int,
    between: Callable[[int], None],
    encode: EncodeAll | None = None,
) -> list[Any]:
    """One parsed prediction an example, in order; `between` is called after each batch.

    Examples that a generating model cannot tell apart are decoded once (DART has equal triples in several entries).

    Args:
        encode: gives the sequences of the examples; None: they are tokenised here.
    """
    encoded = (encode or encoded_by(adapter, task))(examples, False)
    places = list(range(len(encoded)))
    if task.format == "text_to_text":
        first: dict[tuple[int, ...], int] = {}  # targets do not matter here
        places = [first.setdefault(items[0].ids, len(first)) for items in encoded]
        unique = dict(zip(reversed(places), reversed(encoded), strict=True))
        encoded = [unique[place] for place in range(len(first))]
    said = decoded(adapter, encoded, task.format, injection, decoding, batch_size, between=between)
    return [task.parse(said[place], example) for place, example in zip(places, examples, strict=True)]


@torch.no_grad()
def decoded(
    adapter: ModelAdapter,
    encoded: Sequence[Sequence[Encoded]],
    format: str,
    injection: Injection,
    decoding: Mapping[str, Any],
    batch_size: int,
    trials: Sequence[int] | None = None,
    between: Callable[[int], None] = lambda count: None,
) -> list[Any]:
    """What the model says to each example, in order. Batches hold like lengths, and one number of choices.

    In the span format the windows of one example may be in several batches: its answer is the best of all. So may the
    candidates of a ranking: what is said of the example is the score of each, in their order.

    Args:
        encoded: the sequences of each example.
        trials: which prompt (index on axis K) each example takes; None: the first.
    """
    owners = [index for index, items in enumerate(encoded) for _ in separated([items], format)]
    units = separated(encoded, format)
    said: list[list[tuple[int, Any]]] = [[] for _ in encoded]
    tokenizer, device = adapter.backbone.tokenizer, adapter.backbone.device

    def of_batch(chosen: Sequence[int]) -> Sequence[Any]:
        items = [item for index in chosen for item in units[index]]
        rows = None if trials is None else [trials[owners[index]] for index in chosen for _ in units[index]]
        choices = len(units[chosen[0]])
        batch = collate(items, tokenizer.pad_token_id, rows, left=adapter.pad_left, choices=choices)
        return adapter.predict(batch.to(device), injection, decoding)

    batches = _batches(units, batch_size)
    for chosen, outputs in zip(batches, side_by_side(of_batch, batches, device), strict=True):
        for index, output in zip(chosen, outputs, strict=True):
            said[owners[index]].append((index, output))
        between(len(chosen))
    in_order = [[output for _, output in sorted(own, key=lambda pair: pair[0])] for own in said]
    if format == "ranking":
        return in_order
    return [best_answer(own) if format == "span" else own[0] for own in in_order]


def _batches(units: Sequence[Sequence[Encoded]], batch_size: int) -> list[list[int]]:
    """Which units are decoded together: of like lengths, the longest first, and of one number of choices."""
    order = sorted(range(len(units)), key=lambda i: (len(units[i]), -max(len(item.ids) for item in units[i])))
    found = []
    while order:
        choices = len(units[order[0]])
        found.append([index for index in order[:batch_size] if len(units[index]) == choices])
        order = order[len(found[-1]) :]
    return found


def score(
    task: Task, examples: Sequence[Example], predictions: Sequence[Any], selection: str | None = None
) -> Evaluation:
    """Every metric of the task over the split; of a mixture, each part's own over its examples, and their average.

    Args:
        selection: the value by which a checkpoint is chosen: costly metrics that do not give it are left out.
    """
    if hasattr(task, "parts"):
        return _score_parts(task, examples, predictions)
    golds = [_gold(example, prediction) for example, prediction in zip(examples, predictions, strict=True)]
    values: dict[str, float] = {}
    statistics: dict[str, Rows] = {}
    missing: dict[str, str] = {}
    for metric in task.metrics:
        if selection is not None and getattr(metric, "costly", False) and selection not in metric.outputs:
            continue
        try:
            found, rows = _scored(metric, examples, predictions, golds)
        except MetricUnavailable as error:
            missing |= dict.fromkeys(metric.outputs, str(error))
            continue
        values |= found
        if rows is not None:
            statistics[metric.name] = rows
    names = averaged_values(task.metrics)
    if names and all(name in values for name in names):
        values[TASK_SCORE] = task_score(names, values)
    cut = sum(_length(e.references[0]) - _length(g[0]) for e, g in zip(examples, golds, strict=True))
    return Evaluation(values, statistics, list(predictions), collapse(predictions, golds), cut, missing)


def higher_is_better(task: Task, value_name: str) -> bool:
    """Whether a larger value is the better one; a loss and TER are not so."""
    return value_name != "loss" and all(m.higher_is_better for m in task.metrics if value_name in m.outputs)


def _scored(
    metric: Any, examples: Sequence[Example], predictions: Sequence[Any], golds: Sequence[tuple[Any, ...]]
) -> tuple[dict[str, float], Rows | None]:
    """A metric's values, and its statistics, a row an example."""
    if not getattr(metric, "grouped", False):
        return score_split(metric, predictions, golds)
    groups: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example.id if example.group is None else example.group, []).append(index)
    found = {
        own[0]: metric.score([predictions[i] for i in own], [[golds[i][0] for i in own]]) for own in groups.values()
    }
    nothing = [0.0] * len(next(iter(found.values()))) if found else []
    rows = [list(map(float, found[index])) if index in found else nothing[:] for index in range(len(examples))]
    return metric.reduce(np.asarray(rows)), rows


def _score_parts(task: Any, examples: Sequence[Example], predictions: Sequence[Any]) -> Evaluation:
    values: dict[str, float] = {}
    statistics: dict[str, Rows] = {}
    missing: dict[str, str] = {}
    means, collapsed, cut = [], [], 0
    for part, own in task.parts.items():
        chosen = [index for index, example in enumerate(examples) if example.meta["part"] == part]
        found = score(own, [examples[index] for index in chosen], [predictions[index] for index in chosen])
        values |= {f"{part}.{name}": value for name, value in found.values.items()}
        statistics |= {f"{part}.{name}": rows for name, rows in found.statistics.items()}
        missing |= {f"{part}.{name}": reason for name, reason in found.missing.items()}
        names = main_values(own.metrics)
        means += [task_score(names, found.values)] if all(name in found.values for name in names) else []
        collapsed += [f"{part}: {found.collapsed}"] if found.collapsed else []
        cut += found.cut
    if len(means) == len(task.parts):
        values = {"average": sum(means) / len(means), **values}
    else:
        missing["average"] = f"a part has no value: {'; '.join(dict.fromkeys(missing.values()))}"
    return Evaluation(values, statistics, list(predictions), "; ".join(collapsed) or None, cut, missing)


def subsets(split: str, examples: Sequence[Example]) -> dict[str, list[int]]:
    """{`<split>_<subset>`: positions of its examples}, by `Example.meta["subset"]`; empty where no example has one."""
    found: dict[str, list[int]] = {}
    for position, example in enumerate(examples):
        if "subset" in example.meta:
            found.setdefault(f"{split}_{example.meta['subset']}", []).append(position)
    return found


def score_subset(task: Task, statistics: Mapping[str, Sequence[Sequence[float]]], members: Sequence[int]) -> Any:
    """{value name: value} of a part of a split, from the statistics of the whole: nothing is decoded or scored again.

    Args:
        statistics: of the whole split, {metric name: [N, S]}.
        members: positions of the part's examples.
    """
    values: dict[str, float] = {}
    for metric in task.metrics:
        if metric.name in statistics:
            values |= metric.reduce(np.asarray([statistics[metric.name][position] for position in members]))
    return values


def _length(gold: Any) -> int:
    return len(gold) if isinstance(gold, list | tuple) else 0


def _gold(example: Example, prediction: Any) -> tuple[Any, ...]:
    """References; of a tagged sentence only the words that survived truncation."""
    if isinstance(prediction, list) and _length(example.references[0]) > len(prediction):
        return tuple(list(reference)[: len(prediction)] for reference in example.references)
    return tuple(example.references)


def collapse(predictions: Sequence[Any], golds: Sequence[Sequence[Any]]) -> str | None:
    """A sentence if all outputs are alike though the answers are not; None otherwise."""
    if len({repr(gold) for gold in golds}) < 2:
        return None
    if all(isinstance(p, list) for p in predictions):
        tags = {tag for sentence in predictions for tag in sentence} or {"O"}
        return f"every word of the split is tagged {tags.pop()}" if len(tags) == 1 else None
    said = [p["text"] if isinstance(p, Mapping) else p for p in predictions]
    distinct = {repr(p) for p in said}
    if len(distinct) > 1:
        return None
    only = said[0]
    if only == "" or only == -1:
        return "every output is empty" if only == "" else "no output names a class"
    return f"every output is the same: {only!r}"


@torch.no_grad()
def mean_loss(
    adapter: ModelAdapter,
    task: Task,
    examples: Sequence[Example],
    injection: Injection,
    batch_size: int,
    between: Callable[[int], None],
    encode: EncodeAll | None = None,
) -> float:
    """Cross-entropy a label (token, tagged word, window, example) over a split, in nats; targets: first references.

    Args:
        encode: as in `predict`.
    """
    total, count = 0.0, 0
    encoded = separated((encode or encoded_by(adapter, task))(examples, True), task.format)
    encoded.sort(key=lambda items: -max(len(item.ids) for item in items))
    tokenizer, device = adapter.backbone.tokenizer, adapter.backbone.device

    def of_batch(chosen: Sequence[Sequence[Encoded]]) -> tuple[float, int]:
        batch = collate([item for items in chosen for item in items], tokenizer.pad_token_id, choices=len(chosen[0]))
        losses = adapter.losses(batch.to(device), injection)
        return float(losses.total.sum()), int(losses.count.sum())

    batches = [encoded[start : start + batch_size] for start in range(0, len(encoded), batch_size)]
    for chosen, (loss, labels) in zip(batches, side_by_side(of_batch, batches, device), strict=True):
        total, count = total + loss, count + labels
        between(len(chosen))
    return total / count


def write_predictions(
    path: Path, examples: Sequence[Any], predictions: Sequence[Any], write: Callable[[Path, str], None]
) -> None:
    """One json line an example: id, prediction, references."""
    lines = [
        json.dumps({"id": example.id, "prediction": prediction, "references": example.references}, ensure_ascii=False)
        for example, prediction in zip(examples, predictions, strict=True)
    ]
    write(path, "\n".join(lines) + "\n")
