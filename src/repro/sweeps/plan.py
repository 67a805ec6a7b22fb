"""`repro plan`: what an exhibit or a paper would run, before anything runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repro.config.schema import TaskConfig
from repro.errors import ConfigError
from repro.metrics.registry import build_metric
from repro.store.damage import Damaged
from repro.store.store import Store
from repro.sweeps import estimates, experiments, grids
from repro.sweeps.composing import Overrides
from repro.sweeps.expand import Planned
from repro.sweeps.experiments import Experiment
from repro.tasks.registry import check_task

TERAFLOPS = 100.0
"""Assumed rate of a GPU, in 10^12 operations a second: about a third of what current ones reach on large matrices."""
GB = 1e9


@dataclass
class Plan:
    """Everything that `repro plan` prints."""

    trials: list[Planned]
    status: dict[str, str]
    """{run key: status in the store}"""
    per_experiment: dict[str, int]
    damaged: list[Damaged] = field(default_factory=list)
    """Records that were left out."""
    costs: list[tuple[Planned, estimates.Cost]] = field(default_factory=list)
    """Of the trials to do."""
    hours: float = 0.0
    measured: int = 0
    """Trials to do whose time comes from records."""
    unknown: int = 0
    """Trials to do of unknown length."""

    @property
    def done(self) -> list[Planned]:
        """Trials with a record that has a score."""
        return [trial for trial in self.trials if self.status.get(trial.key or "") in ("done", "collapsed")]

    @property
    def to_do(self) -> list[Planned]:
        """The others; one that failed before is not run again without rerun=true."""
        return [trial for trial in self.trials if (trial.key or "") not in self.status]


def make(
    chosen: Sequence[Experiment], given: Mapping[str, str], models: Sequence[str], results: Path, rate: float
) -> Plan:
    """The plan of some experiments; a trial of two exhibits counts once.

    Raises:
        ConfigError: a trial that cannot run, or words that leave nothing.
    """
    found: dict[tuple[str, str | None], Planned] = {}
    counts: dict[str, int] = {}
    for experiment in chosen:
        planned = experiment.planned(given, models)
        counts[experiment.name] = len(planned)
        for trial in planned:
            found.setdefault((trial.spec.key, trial.waits_for), trial)
    if not found:
        raise ConfigError(f"no trial is left: none of the models has one of the words {', '.join(models)} in its name.")
    trials = list(found.values())
    damaged: list[Damaged] = []
    records = list(Store(results / "records").records(damaged.append, statistics=False))
    keys = {trial.key for trial in trials}
    status = {record.key: record.status for record in records if record.key in keys}
    plan = Plan(trials, status, counts, damaged)
    for trial in plan.to_do:
        config = trial.spec.config
        cost, seen = estimates.cost(config), estimates.measured(config, records)
        plan.costs.append((trial, cost))
        if seen is not None:
            plan.hours, plan.measured = plan.hours + seen[0] / 3600, plan.measured + 1
        elif cost.flops is None:
            plan.unknown += 1
        else:
            plan.hours += cost.flops / (rate * 1e12) / 3600
    return plan


def text(plan: Plan, rate: float, comparable: int | None) -> str:
    """The plan as lines."""
    statuses = Counter(plan.status.values())
    lines = [f"{name}: {count} trials" for name, count in plan.per_experiment.items()]
    waiting = sum(trial.waits_for is not None for trial in plan.to_do)
    search = sum(trial.search for trial in plan.trials)
    lines += [
        "",
        f"trials: {len(plan.trials)} in all, {len(plan.done)} done, {statuses['failed']} failed, "
        f"{len(plan.to_do)} to do"
        + (f" ({waiting} of them start from prompts that are to be trained first)" if waiting else ""),
    ]
    if search:
        lines.append(f"search: {search} of the trials are points of the authors' search: nobody published their values")
    lines += _effort(plan, rate) + _needs(plan) + _comparison(plan, comparable)
    return "\n".join(lines)


def _effort(plan: Plan, rate: float) -> list[str]:
    if not plan.costs:
        return ["nothing to do: every trial has its record"]
    trial, cost = max(plan.costs, key=lambda pair: pair[1].memory)
    config = trial.spec.config
    basis = f"{plan.measured} trials by records of the same cell, the others by shapes at {rate:g} TFLOP/s (--tflops)"
    return [
        f"GPU memory: up to {cost.memory / GB:.1f} GB ({config.method.name} on {config.model.name}, "
        f"{config.task.name}); by shapes, not measured",
        f"GPU-hours: {plan.hours:.1f}; {basis}; inputs at their longest, so an upper bound at that rate"
        + (f"; {plan.unknown} trials of unknown length are not in it" if plan.unknown else ""),
        f"disk: {sum(cost.disk for _, cost in plan.costs) / GB:.2f} GB of records, predictions and prompts",
    ]


def _needs(plan: Plan) -> list[str]:
    """Weights to download, data that is not there, and what metrics lack."""
    sizes: dict[str, float] = {}
    missing: dict[str, set[str]] = defaultdict(set)
    lacking: set[str] = set()
    for trial in plan.to_do:
        model, task = trial.spec.config.model, trial.spec.config.task
        if model.source == "hub":
            sizes[model.location] = 4.0 * (model.parameters or 0)
        elif model.source == "folder" and not Path(model.location).is_dir():
            missing[f"model {model.name}"].add(model.location)
        for part in task.parts.values() if task.parts else [task]:
            if task.source == "local" and not Path(part.data_dir).is_dir():
                missing[f"task {part.name}"].add(part.data_dir)
            elif task.source == "hub":
                sizes.setdefault(f"data set {part.hub_id}", 0.0)
            check_task(part)
            lacking |= _unavailable(part)
    lines = [f"needs {name}" + (f" (up to {size / GB:.1f} GB)" if size else "") for name, size in sorted(sizes.items())]
    lines += [f"missing: {what}: {', '.join(sorted(where))} is not there" for what, where in sorted(missing.items())]
    if missing:
        lines.append("(docs/data.md says where each is to be had; `repro doctor` looks at all of it)")
    return lines + [f"missing: {why}" for why in sorted(lacking)]


def _unavailable(task: TaskConfig) -> set[str]:
    """Metrics of a task that cannot be computed here, with the reason."""
    metrics = [build_metric(config) for config in [*task.metrics, *task.also_metrics]]
    return {f"{metric.name}: {why}" for metric in metrics if (why := metric.unavailable())}


def _comparison(plan: Plan, comparable: int | None) -> list[str]:
    if comparable is None:
        return []
    rest = len(plan.trials) - comparable
    return [
        f"comparison: {comparable} of {len(plan.trials)} trials answer a number that a paper prints"
        + (f"; {rest} have no printed number beside them (the first lines of their files say why)" if rest else "")
    ]


def comparable(plan: Plan) -> int:
    """How many trials answer a printed number, alone or as one of SuperGLUE's eight."""
    from repro.sweeps import coverage

    known: dict[str, bool] = {}
    averages = coverage.average_answered(plan.trials)
    count = 0
    for trial in plan.trials:
        name = coverage.cell_key(trial)
        if name not in known:
            known[name] = bool(coverage.answered(trial)) or coverage.in_average(trial, averages)
        count += known[name]
    return count


def selected(what: Sequence[str], exhibits: str, models: str) -> tuple[list[Experiment], Overrides, list[str]]:
    """Experiments, overrides and model words of a command line.

    Args:
        what: papers, experiments (`experiment=NAME` too) and overrides `key=value`.
        exhibits, models: names joined by commas.

    Raises:
        ConfigError: nothing was named, or a name that does not exist.
    """
    names, overrides = grids.names_and_overrides(what)
    if not names:
        raise ConfigError(f"name a paper or an experiment: {', '.join(experiments.names())}.")
    split = [[part for part in text.split(",") if part] for text in (exhibits, models)]
    return experiments.chosen(names, split[0]), overrides, split[1]
