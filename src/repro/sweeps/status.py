"""`repro status`: every trial of an experiment, or all that was submitted: queued, running, done, failed; how far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro.store import progress
from repro.store.damage import OnDamage
from repro.sweeps import listing
from repro.sweeps.executors.slurm.arrays import all_arrays
from repro.sweeps.executors.slurm.queue import queue
from repro.sweeps.executors.slurm.states import STATUSES, State, States
from repro.sweeps.listing import Named

ROWS = 60
"""With more trials than that, those that are done or wait are counted, not listed."""
_COUNTED = ("done", "queued", "missing", "submitted")
_IN_NAME = ("method", "model", "task", "seed", "experiment")
"""Overrides that a trial's name shows already."""


def trials(
    runs: Path, experiment: str | None, given: Mapping[str, str], on_damage: OnDamage | None = None
) -> dict[str, Named]:
    """{run key: trial} of an experiment, or, without a name, of all that was submitted or runs here.

    Args:
        on_damage: see `all_arrays`.

    Raises:
        ConfigError: there is no such experiment.
    """
    submitted = {
        trial.key: Named(trial.name, tuple(trial.command[2:]))
        for array in all_arrays(runs, on_damage)
        for trial in array.trials()
        if experiment in (None, trial.experiment)
    }
    if experiment is None:
        running = sorted(path.parent.name for path in runs.glob(f"*/{progress.FILE}"))
        return submitted | {key: Named(key) for key in running if key not in submitted}
    if submitted and not given:
        return submitted
    return listing.trials(experiment, given, runs / "cache" / "lists")


def look(keys: Sequence[str], results: Path, runs: Path) -> tuple[list[State], bool]:
    """The states of trials, and whether the queue answered."""
    tasks = queue()
    states = States(results, runs, tasks, all_arrays(runs, lambda error: None))
    return [states.of(key) for key in keys], tasks is not None


def names(trials: Mapping[str, Named]) -> dict[str, str]:
    """{run key: the trial's name, and whatever else differs among the trials}."""
    given = {
        key: dict(word.lstrip("+").split("=", 1) for word in trial.words if "=" in word)
        for key, trial in trials.items()
    }
    options = dict.fromkeys(name for overrides in given.values() for name in overrides)
    shown = [name for name in options if name not in _IN_NAME and not name.startswith(("paths.", "hydra"))]
    differing = [name for name in shown if len({values.get(name) for values in given.values() if values}) > 1]
    short = {name: name.rpartition(".")[2] for name in differing}
    return {
        key: " ".join([trials[key].name, *(f"{short[name]}={values[name]}" for name in differing if name in values)])
        for key, values in given.items()
    }


def counted(states: Sequence[State]) -> str:
    """How many trials have each status."""
    counts = Counter(state.status for state in states)
    return ", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name])


def table(states: Sequence[State], names: Mapping[str, str], everything: bool) -> list[str]:
    """The lines: counts, then a row for each trial."""
    lines = [f"{len(states)} trials: {counted(states)}"]
    listed = sorted(states, key=lambda state: STATUSES.index(state.status))
    if len(states) > ROWS and not everything:
        listed = [state for state in listed if state.status not in _COUNTED]
        lines.append(f"(of more than {ROWS} trials these are only counted: {', '.join(_COUNTED)}; --all lists them)")
    if not listed:
        return lines
    head = ("status", "trial", "step", "loss", "left", "job", "")
    rows = [head, *(_row(state, names[state.key]) for state in listed)]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    cells = [[*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[6]] for row in rows]
    return [*lines, "", *("  ".join(row).rstrip() for row in cells)]


def _row(state: State, name: str) -> tuple[str, ...]:
    remark = state.score if state.status == "done" else state.reason
    return state.status, name, *numbers(state), duration(state.left), state.job or "", remark or ""


def numbers(state: State) -> tuple[str, str]:
    """Step and loss."""
    steps = "" if state.step is None else f"{state.step}/{state.steps}"
    return steps, "" if state.loss is None else f"{state.loss:.3f}"


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds; empty where it is not known."""
    if seconds is None:
        return ""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
