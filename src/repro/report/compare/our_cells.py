"""Our number for a paper's cell, where runs of ours agree with it in everything: the basis for testing claims.

The same rules as in `compare`: model, method, task, split, metric and variables agree, all data was used. So a stand-in
model never counts. Beyond single scores: SuperGLUE averages from the eight tasks' runs, the mean and the best prompt of
an ensemble from its record, and parameter counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from repro.metrics.superglue import SUPERGLUE
from repro.papers.registry import Reported, canonical_metric, split_key
from repro.report.compare.compare import data_limit, mismatches
from repro.report.compare.groups import Group
from repro.store.record import Record
from repro.store.searches.outcomes import direction

if TYPE_CHECKING:
    from repro.papers.statistics import Floats

_PARAMETERS: Mapping[str, Callable[[Mapping[str, int]], float]] = {
    "trainable_parameters": lambda counts: counts["trained"],
    "total_parameters": lambda counts: counts["trained"] + counts["frozen"],
    "percent_trainable": lambda counts: 100 * counts["trained"] / (counts["trained"] + counts["frozen"]),
    "task-specific parameters stored": lambda counts: counts["stored"],
}


@dataclass(frozen=True)
class Ours:
    """Our number for one cell."""

    parts: tuple[tuple[float, ...], ...]
    """One value a run; of an average one tuple a task."""
    groups: tuple[Group, ...]
    """Where the values come from, one a part."""
    settings: int = 1
    """How many groups agreed with the cell; above 1 these are the runs of the best one (see `rank`)."""

    @property
    def value(self) -> float:
        """The mean over parts of the mean over runs, in our unit."""
        means = [sum(part) / len(part) for part in self.parts]
        return sum(means) / len(means)

    @property
    def n(self) -> int:
        """Runs; of an average the fewest runs of a task."""
        return min(len(part) for part in self.parts)

    @property
    def std(self) -> float | None:
        """Deviation over runs; of an average that of the runs' averages, if the tasks have the same seeds."""
        import statistics

        seeds = [[record.seed for record in group.scored] for group in self.groups]
        same = all(
            numbers == seeds[0] and len(part) == len(numbers) for numbers, part in zip(seeds, self.parts, strict=True)
        )
        if self.n < 2 or not same:
            return None
        return float(statistics.stdev(self.by_run))

    @property
    def by_run(self) -> list[float]:
        """One value per run: of an average over tasks, the runs' averages; for tasks with equal seeds only."""
        return [sum(run) / len(run) for run in zip(*self.parts, strict=True)]

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %: Student's t over seeds; of an average a bootstrap stratified by task. None for one run a task."""
        from repro.papers import statistics

        if len(self.parts) == 1:
            summary = statistics.summary(self.parts[0])
            low, high = summary.low, summary.high
        else:
            aggregated = statistics.aggregated(self.parts)
            low, high = aggregated.low, aggregated.high
        return None if low is None or high is None else (low, high)

    def draws(self, count: int) -> Floats:
        """Draws [count] of the mean over infinitely many seeds; equal groups give equal draws."""
        import numpy as np

        from repro.papers import statistics

        drawn: list[Floats] = []
        for part, group in zip(self.parts, self.groups, strict=True):
            # What was trained and its scores, not the key: a new version of run keys must not move an interval.
            trained = {name: value for name, value in asdict(group.names).items() if name != "paper"}
            about = (sorted(trained.items()), part)
            generator = np.random.default_rng(zlib.crc32(repr(about).encode()))
            drawn.append(statistics.mean_draws(part, count, generator))
        mean: Floats = np.mean(drawn, axis=0)
        return mean


class Results:
    """Our runs, asked for a paper's cells."""

    def __init__(self, groups: Iterable[Group]):
        self._groups = [group for group in groups if group.scored and data_limit(group) is None]
        self._by_names: dict[tuple[str | None, ...], list[Group]] = {}
        for group in self._groups:
            names = (group.names.method, group.names.task, group.names.model)
            self._by_names.setdefault(names, []).append(group)
        self._known: dict[Reported, Ours | None] = {}

    def of(self, cell: Reported) -> Ours | None:
        """Our number for a cell; None: no run agrees with it. Of several groups the best: see `rank`."""
        key = replace(cell, vars={}, id=f"{cell.id} {sorted(cell.vars.items())!r}")
        if key not in self._known:
            self._known[key] = self._look(cell)
        return self._known[key]

    def _look(self, cell: Reported) -> Ours | None:
        if cell.metric in _PARAMETERS:
            return self._parameters(cell)
        if "aggregate" in cell.vars and cell.metric != "superglue_score":
            return self._of_ensemble(cell)
        return self._direct(cell) or (self._superglue(cell) if cell.metric == "superglue_score" else None)

    def _direct(self, cell: Reported) -> Ours | None:
        """A score that a group has itself; also the average of a mixture (multi-task tuning)."""
        near = self._by_names.get((cell.method, cell.task, cell.model), [])
        answers = [ours for group in near if (ours := _score(group, cell)) is not None]
        best = min(answers, key=lambda ours: rank(ours.groups[0], cell.paper, ours.n), default=None)
        return None if best is None else replace(best, settings=len(answers))

    def _superglue(self, cell: Reported) -> Ours | None:
        parts, groups, settings = [], [], 1
        for task, metrics in SUPERGLUE.items():
            answers = [self.of(replace(cell, id=f"{cell.id} {task} {m}", task=task, metric=m)) for m in metrics]
            present = [ours for ours in answers if ours is not None]
            if len(present) < len(metrics) or len({ours.groups[0].key for ours in present}) > 1:
                return None
            settings = max(settings, *(ours.settings for ours in present))
            parts.append(
                tuple(sum(values) / len(values) for values in zip(*(o.parts[0] for o in present), strict=True))
            )
            groups.append(present[0].groups[0])
        return Ours(tuple(parts), tuple(groups), settings)

    def _of_ensemble(self, cell: Reported) -> Ours | None:
        """The mean and the best member stand in the record of the vote."""
        variables = {key: value for key, value in cell.vars.items() if key != "aggregate"}
        vote = replace(cell, method="prompt_ensemble", vars=variables, id=f"{cell.id} vote")
        for group in self._by_names.get((vote.method, vote.task, vote.model), []):
            fitting = _measure(group, vote)
            metric = fitting[1] if fitting else ""
            recorded = [_of_members(record, cell.vars["aggregate"]).get(metric) for record in group.scored]
            values = [float(value) for value in recorded if isinstance(value, (int, float))]
            if values and len(values) == len(recorded):
                return Ours((tuple(values),), (group,))
        return None

    def _parameters(self, cell: Reported) -> Ours | None:
        for group in self._groups:
            same = (cell.method, cell.model) == (group.names.method, group.names.model)
            if not same or cell.task not in (None, group.names.task):
                continue
            # The split plays no part in a count.
            if mismatches(group, "test", replace(cell, split="test", caveat=None, usable=True)):
                continue
            counts = group.scored[0].parameters
            if {"trained", "stored", "frozen"} <= set(counts):
                return Ours(((float(_PARAMETERS[cell.metric](counts)),),), (group,))
        return None


def _of_members(record: Record, aggregate: object) -> Mapping[str, float]:
    """Values of an ensemble's members, from the record of its vote."""
    if aggregate == "mean_of_5":
        return record.selection.get("mean") or {}
    return (record.selection.get("best") or {}) if aggregate == "best_of_5" else {}


def _score(group: Group, cell: Reported) -> Ours | None:
    fitting = _measure(group, cell)
    values = group.values(*fitting) if fitting else []
    return Ours((tuple(values),), (group,)) if values else None


def _measure(group: Group, cell: Reported) -> tuple[str, str] | None:
    """The (split, metric) of a group that answers to a cell, if all else agrees too."""
    task = group.names.task
    if task is None or (cell.method, cell.task) != (group.names.method, task):
        return None
    # An erratum of the paper's value does not concern ours.
    plain = replace(cell, caveat=None, usable=True)
    for split, metric in group.measures:
        if split_key(split) == cell.our_split and canonical_metric(metric, task) == cell.our_metric is not None:
            return None if mismatches(group, split, plain) else (split, metric)
    return None


def rank(group: Group, paper: str, n: int) -> tuple[bool, bool, int, float, str]:
    """Sort key, best first: with a recipe of this paper, in an experiment of this paper, most runs, best selected.

    The last but one is how a paper picks from its search: by the score on which checkpoints are selected, never by the
    score that is reported.

    Args:
        group: runs that agree with a cell.
        paper: the cell's.
        n: how many of the runs have the cell's score.
    """
    here = group.trial.recipe.paper != paper, group.names.paper != paper
    return *here, -n, -_selected(group), group.key


def budget(settings: int) -> str:
    """From how many settings a score was chosen, as a sentence; empty for one."""
    return "" if settings < 2 else f"The best of {settings} settings, by the score that selects checkpoints."


def _selected(group: Group) -> float:
    """Mean score by which the runs' checkpoints were selected, negative where less is better (a loss, TER).

    -inf where it is not recorded, or where a metric of the user's own does not tell which of two values is the better.
    """
    values = []
    for record in group.scored:
        value = record.selection.get("value")
        better = direction(record.trial.task.metrics, str(record.selection.get("metric")))
        if not isinstance(value, (int, float)) or better is None:
            return float("-inf")
        values.append(-value if better == "minimize" else value)
    return sum(values) / len(values)
