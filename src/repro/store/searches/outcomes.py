"""What a trial is worth to a search: the value by which its checkpoint was selected, on the validation split only.

Nothing of any other split is read here, so a test score cannot influence what is proposed or chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from repro.errors import ConfigError
from repro.store.record import Record

SPLIT = "validation"

Values = dict[str, str]
"""{override: value as on a command line}."""


@dataclass(frozen=True)
class Outcome:
    """Of one setting."""

    status: str
    """done | failed | open (a trial of it has no record yet)"""
    value: float | None = None
    """Mean over its seeds."""
    reason: str | None = None


@dataclass(frozen=True)
class Tried:
    """One setting and its outcome."""

    values: Values
    outcome: Outcome


def check_split(split: str) -> None:
    """Refuse a search that would choose by another split.

    Args:
        split: `trainer.selection.split` of its trials.

    Raises:
        ConfigError: it is not the validation split.
    """
    if split != SPLIT:
        raise ConfigError(
            f"trainer.selection.split={split}: a search chooses among settings by this value, and must not see the "
            f"split that it is judged on. Set trainer.selection.split={SPLIT}."
        )


def value_of(record: Record) -> float | None:
    """The value of selection on the validation split; None where the record has none.

    Raises:
        ConfigError: its checkpoint was selected on another split.
    """
    split, metric = record.selection.get("split"), record.selection.get("metric")
    if split not in (None, SPLIT):
        raise ConfigError(
            f"trial {record.key} selected its checkpoint on the {split} split: it can be no part of a search. Run it "
            f"with trainer.selection.split={SPLIT}."
        )
    value = record.selection.get("value")
    if value is None:  # selection.rule=last: nothing was compared while training
        value = record.metrics.get(SPLIT, {}).get(str(metric))
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def outcome(records: Sequence[Record | None]) -> Outcome:
    """Of the records of one setting, one a seed. One failed seed fails the setting: a mean of the others flatters it.

    Raises:
        ConfigError: as `value_of`.
    """
    present = [record for record in records if record is not None]
    for record in present:
        if record.status == "failed":
            return Outcome("failed", reason=record.reason)
    if len(present) < len(records):
        return Outcome("open")
    values = [value_of(record) for record in present]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Outcome("failed", reason="its record has no validation value")
    return Outcome("done", sum(known) / len(known))


def direction(metrics: Iterable[Mapping[str, object]], name: str) -> str | None:
    """maximize | minimize; None where a metric that is not known here may be the one.

    Args:
        metrics: their configs, of a trial's task.
        name: of the value that is sought.
    """
    from repro.metrics.registry import build_metric

    if name in ("loss", "perplexity"):
        return "minimize"
    for config in metrics:
        try:
            metric = build_metric(config)
        except ConfigError:
            return None
        if name in metric.outputs and not metric.higher_is_better:
            return "minimize"
    return "maximize"
