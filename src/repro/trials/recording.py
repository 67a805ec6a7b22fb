"""The record of a trial, made once at its end from what reading, training and scoring found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repro.config import plugins
from repro.config.schema import TrialConfig
from repro.config.task_rules import method_value
from repro.store.record import DataFacts, Record, Selection, WeightFacts
from repro.trials.provenance import provenance
from repro.trials.spec import TrialSpec


@dataclass
class Trained:
    """What training found, as far as it came."""

    curve: list[dict[str, Any]] = field(default_factory=list)
    selection: Selection = field(default_factory=Selection)
    cost: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What happened on the way that a reader should know: a damaged checkpoint, say."""


@dataclass
class Scores:
    """What scoring the chosen checkpoint found; the fields of a record of the same names."""

    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    statistics: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    clusters: dict[str, list[int]] = field(default_factory=dict)
    subsets: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    deviations: list[str] = field(default_factory=list)
    collapsed: str | None = None
    """Why the predictions count as degenerate."""
    seconds: float = 0.0
    peak_memory: float = 0.0
    """Bytes."""


@dataclass(frozen=True)
class Setup:
    """What is known of a trial once its model is loaded."""

    parameters: Mapping[str, int]
    weights: WeightFacts
    data: Mapping[str, DataFacts]
    deviations: Sequence[str]
    """Of the task, the model's loading and the method, in this order."""
    device: str
    """cpu | cuda | mps"""
    processes: int = 1
    labels: Sequence[str] = ()
    """Of the task."""


@dataclass(frozen=True)
class Clock:
    """When a trial was started, and how long it took."""

    started: datetime
    seconds: float
    joint_trials: int = 1
    """How many trials trained together."""


def record_of(
    spec: TrialSpec,
    setup: Setup,
    trained: Trained,
    scores: Scores | None,
    clock: Clock,
    failure: str | None = None,
    files: Mapping[str, str] | None = None,
) -> Record:
    """The record of a trial that has ended.

    Args:
        scores: None where it failed before they were there.
        failure: why it failed.
        files: {file in the run folder: SHA-256}.
    """
    scores = scores or Scores()
    status = "failed" if failure is not None else "collapsed" if scores.collapsed is not None else "done"
    cost = dict(trained.cost)
    if scores.seconds:
        cost["evaluation_seconds"] = round(cost.get("evaluation_seconds", 0.0) + scores.seconds, 3)
        cost["peak_memory_bytes"] = scores.peak_memory
    origin = provenance([*spec.command, *plugins.words()], setup.device)
    origin["data"] = dict(setup.data)
    origin["weights"] = setup.weights
    origin["started"] = clock.started.isoformat(timespec="seconds")
    origin["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    if trained.notes:
        origin["notes"] = trained.notes
    if setup.labels and not spec.config.task.labels and not spec.config.task.parts:
        origin["labels"] = list(setup.labels)
    if setup.processes > 1:
        origin["processes"] = setup.processes
    if clock.joint_trials > 1:
        origin["joint_trials"] = clock.joint_trials
    return Record(
        spec.key,
        status,
        recorded_config(spec.config),
        spec.config.seed,
        reason=failure if failure is not None else scores.collapsed,
        choices=dict(spec.choices),
        metrics=scores.metrics,
        missing=scores.missing,
        selection=trained.selection,
        curve=trained.curve,
        statistics=scores.statistics,
        clusters=scores.clusters,
        subsets=scores.subsets,
        parameters=dict(setup.parameters),
        cost=cost | {"seconds": round(clock.seconds, 3)},
        provenance=origin,
        deviations=deviations(spec.config, [*setup.deviations, *scores.deviations]),
        files=dict(files or {}),
    )


def recorded_config(config: TrialConfig) -> dict[str, Any]:
    """The config as a record keeps it: no folders of this machine, which do not change the result."""
    kept = config.to_dict()
    del kept["paths"]
    if config.method.start_from:
        kept["method"]["start_from"] = Path(config.method.start_from).name
    root = Path(config.paths.data_root)
    for task in (kept["task"], *kept["task"]["parts"].values()):
        folder = Path(task["data_dir"])
        inside = folder.relative_to(root) if folder.is_relative_to(root) else Path(folder.name)
        task["data_dir"] = inside.as_posix()
    return kept


SHIFTED_BART = (
    "real tokens of BART start at position method.length; in Li and Liang's code they start at 0 in both stacks, where "
    "GPT-2's are shifted (method.shift_positions=false does as the code)"
)


def deviations(config: TrialConfig, noticed: Sequence[str]) -> list[str]:
    """Every known difference between this trial and the paper, each once.

    Args:
        noticed: of the task, of loading, of scoring.
    """
    texts = [*config.method.deviations, *config.recipe.deviations, *noticed]
    positions_in_both = config.model.kind == "encoder_decoder" and config.model.max_positions is not None
    if positions_in_both and method_value(config.method, "shift_positions"):
        texts.append(SHIFTED_BART)
    if config.recipe.name is None:
        texts.append(
            "no recipe for this method, model and task: hyperparameters are our defaults or the command line's"
        )
    if config.model.paper_name is None:
        texts.append(f"no paper used the model {config.model.name}")
    return list(dict.fromkeys(texts))
