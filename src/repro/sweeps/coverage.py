"""Which printed numbers a planned trial answers, and which no experiment produces, with the reason.

A trial is held against the registry by the rules of the comparison itself (`repro.report.compare.compare`), with a
record that has its config and no score. What nothing produces must stand in `papers/not_reproducible.yaml`, which
also makes docs/not-reproducible.md.
"""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from repro.config.run_key import run_key
from repro.config.schema import TrialConfig
from repro.errors import DataError
from repro.metrics.registry import build_metric
from repro.papers import registry
from repro.papers.registry import Reported
from repro.report.compare import compare
from repro.report.compare.groups import Group, paper_method
from repro.store.record import Record
from repro.sweeps import experiments
from repro.sweeps.expand import Planned

SUPERGLUE = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")
SPLITS = ("validation", "test", "test_seen", "test_unseen")


@dataclass(frozen=True)
class Reason:
    """Cells that no experiment produces."""

    cells: tuple[str, ...]
    """Patterns of cell ids."""
    reason: str

    def holds(self, cell: Reported) -> bool:
        """Whether the cell is one of these."""
        return any(fnmatch.fnmatchcase(cell.id, pattern) for pattern in self.cells)


@cache
def reasons() -> tuple[Reason, ...]:
    """The entries of `papers/not_reproducible.yaml`.

    Raises:
        DataError: an entry without cells or without a reason.
    """
    import yaml

    data = yaml.safe_load(files("repro.papers").joinpath("not_reproducible.yaml").read_text(encoding="utf-8"))
    for entry in data:
        if not entry.get("cells") or not entry.get("reason"):
            raise DataError(f"not_reproducible.yaml: {entry} needs cells (patterns of ids) and a reason.")
    return tuple(Reason(tuple(entry["cells"]), " ".join(entry["reason"].split())) for entry in data)


def answered(trial: Planned) -> set[str]:
    """Ids of the cells with which a record of this trial would be compared, but for the data that it was cut to."""
    group, names = _group(trial), _metrics(trial.spec.config)
    mine = [cell for cell in registry.cells() if cell.our_metric in names and cell.task == group.names.task]
    mine = [cell for cell in mine if cell.method == group.names.method]
    return {cell.id for cell in mine if any(not compare.mismatches(group, split, cell) for split in SPLITS)}


def _group(trial: Planned) -> Group:
    """A group of one record that has the trial's config and no score."""
    config = trial.spec.config
    if trial.waits_for is not None:  # it will say so of the prompt that it starts from
        config = replace(config, method=replace(config.method, start_task=trial.start_task))
    plain, counts = config.to_dict(), {}
    cells = registry.cells(method=paper_method(plain), kind="result")
    share = any("stored_percent" in cell.vars for cell in cells)
    if share and config.model.paper_name:
        from repro.trials.parameter_counts import counts as count

        counts = count(config)
    return Group(trial.spec.key, (Record(trial.spec.key, "done", plain, config.seed, parameters=counts),))


def _metrics(config: TrialConfig) -> set[str | None]:
    """Canonical names of the values that the task's metrics give."""
    task = config.task
    if not task.metrics:  # a mixture, whose parts have theirs
        return {registry.canonical_metric("average", task.paper_name)}
    metrics = [build_metric(metric) for metric in [*task.metrics, *task.also_metrics]]
    return {registry.canonical_metric(name, task.paper_name) for metric in metrics for name in metric.outputs}


def average_answered(trials: Sequence[Planned]) -> set[str]:
    """Cells of SuperGLUE's score whose eight tasks are all among the trials, all else being as the cell has it."""
    tasks: dict[str, set[str | None]] = defaultdict(set)
    for trial in trials:
        for cell in _averages_with(trial):
            tasks[cell].add(trial.spec.config.task.paper_name)
    return {cell for cell, found in tasks.items() if found >= set(SUPERGLUE)}


def in_average(trial: Planned, averages: set[str]) -> bool:
    """Whether a trial is one of the eight of some average that is answered."""
    return bool(_averages_with(trial) & averages)


def _averages_with(trial: Planned) -> set[str]:
    """Cells of SuperGLUE's score that a trial may be a part of."""
    if trial.spec.config.task.paper_name not in SUPERGLUE:
        return set()
    group = _group(trial)
    cells = registry.cells(task="superglue", our_metric="superglue_score", method=group.names.method)
    return {cell.id for cell in cells if not compare.mismatches(group, "validation", cell)}


def cell_key(trial: Planned) -> str:
    """One name for the trials of a cell: they differ in their seed, are points of a search, or wait for one prompt."""
    config, task = trial.spec.config, trial.start_task or ""
    if trial.search:  # the cells of a search do not say what it searched
        head = config.to_dict()["method"].get("head")
        return f"{config.method.name} {config.model.name} {config.task.name} {head} {task}"
    return run_key(replace(config, seed=0)) + task


def of(names: Iterable[str]) -> dict[str, set[str]]:
    """{cell id: experiments that produce it}, one seed of every trial looked at."""
    experiments_of: dict[str, set[str]] = {}
    for name in names:
        cells: dict[str, Planned] = {}
        for trial in experiments.load(name).planned(points=False):
            cells.setdefault(cell_key(trial), trial)
        trials = list(cells.values())
        produced = set().union(*map(answered, trials)) | average_answered(trials)
        produced |= _votes(name, produced) | _differences(produced)
        for cell in produced:
            experiments_of.setdefault(cell, set()).add(name)
    return experiments_of


def _votes(name: str, produced: set[str]) -> set[str]:
    """Cells of ensembles, and of the best of their members, where an experiment lets the members vote.

    The record of a vote holds all three: its scores, and the mean and the best of its members under `selection`.
    """
    if not experiments.load(name).votes:
        return set()
    cells = {cell.id: cell for cell in registry.cells()}
    members = {(cells[one].model, cells[one].task, cells[one].metric) for one in produced}
    return {
        cell.id
        for cell in cells.values()
        if (cell.model, cell.task, cell.metric) in members
        and (cell.method == "prompt_ensemble" or cell.vars.get("aggregate") == "best_of_5")
    }


def _differences(produced: set[str]) -> set[str]:
    """Cells that are the difference of two others, both of which are produced."""
    cells = [cell for cell in registry.cells() if cell.id in produced]
    methods = {
        cell.id: {part.method for part in cells if (part.paper, part.at, part.task) == (cell.paper, cell.at, cell.task)}
        for cell in registry.cells(method="prompt_minus_fine_tuning")
    }
    return {name for name, found in methods.items() if {"prompt_tuning", "fine_tuning"} <= found}


def page() -> str:
    """docs/not-reproducible.md."""
    lines = [
        "# What is not reproduced, and why",
        "",
        "<!-- Written by `repro plan --not-reproducible --write docs/not-reproducible.md` from",
        "src/repro/papers/not_reproducible.yaml; a test compares. Do not edit. -->",
        "",
        "Every number that a paper prints as a result is produced by an experiment of `conf/experiment`, or is listed.",
        "",
    ]
    for paper in registry.PAPERS:
        cells = registry.cells(paper=paper, kind="result")
        lines += [f"## {paper}", ""]
        for entry in reasons():
            here = [cell for cell in cells if entry.holds(cell)]
            if here:
                tables = ", ".join(dict.fromkeys(cell.at for cell in here))
                lines += [f"- {len(here)} numbers ({tables}): {entry.reason}"]
        lines += [""]
    return "\n".join(lines).rstrip("\n") + "\n"
