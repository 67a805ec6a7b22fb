"""Values that a stored trial lacks, computed from its stored predictions: nothing is trained or decoded again.

A record may lack a value because the machine could not compute it (no Java), or because nobody had asked for it when
the trial ran (`task.also_metrics`).
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from repro.config.task_files import task_names, typed_task
from repro.errors import ConfigError, DataError, MetricUnavailable, StoreError
from repro.metrics.base import AnyMetric
from repro.metrics.registry import build_metric
from repro.store.record import Record
from repro.store.run_folder import trusted_file
from repro.store.store import Store


def rescore(key: str, results: Path, runs: Path, more: Sequence[str] = ()) -> list[str]:
    """Add to a record what its metrics, and those that conf/task names today, can give; one line a value.

    Args:
        key: the trial.
        results: folder with `records`.
        runs: folder with the trial's predictions.
        more: further metrics, each a name, or yaml as in `task.also_metrics` (`{name: rouge, batch_size: 8}`).

    Raises:
        StoreError: there is no such record, or its predictions are not there, or not as the trial wrote them.
        ConfigError: a mixture, whose predictions are scored part by part; or a further metric that is none, or that
            cannot score what the task predicts.
    """
    store = Store(results / "records")
    record = store.get(key)
    if record is None:
        raise StoreError(f"{key}: no such record in {results / 'records'}. Give a key that the report lists.")
    if record.trial.task.is_mixture:
        raise ConfigError(f"{key} is a mixture: its parts are scored when it is run, and cannot be scored again here.")
    lines = []
    wanted = [*_metrics(record), *map(_metric, more)]
    parts = {name for subsets in record.subsets.values() for name in subsets}
    for split in [name for name in record.metrics if name not in parts]:
        predictions, references = _read(trusted_file(record, runs / key, f"predictions-{split}.jsonl"))
        for metric in wanted:
            lines += _add(record, split, metric, predictions, references)
    store.put(record)
    return lines


def _metric(text: str) -> AnyMetric:
    """The metric that a text names."""
    import yaml

    try:
        config = yaml.safe_load(text)
        metric = build_metric({"name": config} if isinstance(config, str) else config)
    except (ConfigError, yaml.YAMLError) as error:
        raise ConfigError(f"--metric {text}: {error} docs/metrics.md has their names.") from error
    if metric.grouped:
        raise ConfigError(f"--metric {text}: this is no metric that scores examples one by one.")
    return metric


def _metrics(record: Record) -> list[AnyMetric]:
    """The record's metrics and those of the task's file today, each with its options once."""
    stored = record.trial.task
    configs: list[Mapping[str, object]] = [*stored.metrics]
    if stored.name in task_names():
        today = typed_task(stored.name, "data")
        configs += [*today.metrics, *today.also_metrics]
    unique = {json.dumps(config, sort_keys=True): config for config in configs}
    return [build_metric(config) for config in unique.values()]


def _add(
    record: Record, split: str, metric: AnyMetric, predictions: Sequence[object], references: Sequence[Sequence[object]]
) -> list[str]:
    """Compute a metric that the split lacks; what was said to be missing no longer is."""
    if all(name in record.metrics[split] for name in metric.outputs):
        return []
    notes = tuple(f"{split}: {name} is missing: " for name in metric.outputs)
    record.deviations = [text for text in record.deviations if not text.startswith(notes)]
    kept = {name: why for name, why in record.missing.get(split, {}).items() if name not in metric.outputs}
    try:
        values, rows = metric.score_split(predictions, references)
    except MetricUnavailable as error:
        record.missing[split] = kept | dict.fromkeys(metric.outputs, str(error))
        record.deviations += [f"{start}{error}" for start in notes]
        return [f"{split} {name} is missing: {error}" for name in metric.outputs]
    except (AttributeError, TypeError, ValueError) as error:
        what = reprlib.repr(predictions[:1])
        raise ConfigError(f"{metric.name} cannot score what {split} has ({what}, ...): {error}") from error
    record.missing = {name: row for name, row in (record.missing | {split: kept}).items() if row}
    record.metrics[split] |= values
    lines = [f"{split} {name} {value:.2f}" for name, value in values.items()]
    if rows is None:
        return lines
    record.statistics.setdefault(split, {})[metric.name] = rows
    return lines + _add_to_parts(record, split, metric, rows)


def _add_to_parts(record: Record, split: str, metric: AnyMetric, rows: Sequence[Sequence[float]]) -> list[str]:
    """The value of each part of the split (`test_seen`), from the statistics of the whole."""
    lines = []
    for part, members in record.subsets.get(split, {}).items():
        values = metric.reduce(np.asarray([rows[position] for position in members]))
        record.metrics[part] |= values
        kept = {name: why for name, why in record.missing.get(part, {}).items() if name not in metric.outputs}
        record.missing = {name: row for name, row in (record.missing | {part: kept}).items() if row}
        lines += [f"{part} {name} {value:.2f}" for name, value in values.items()]
    return lines


def _read(path: Path) -> tuple[list[object], list[list[object]]]:
    """Predictions and references of a split, as the trial wrote them.

    Raises:
        DataError: a line that is none of ours.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        return [row["prediction"] for row in rows], [row["references"] for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: these are no predictions of a trial ({type(error).__name__}: {error}).") from error
