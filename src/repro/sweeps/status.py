"""`repro status`: every trial of an experiment, or all that was submitted: queued, running, done, failed; how far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.store import progress
from repro.sweeps import listing
from repro.sweeps.executors.slurm import queue, submission
from repro.sweeps.executors.slurm.states import STATUSES, State, States
from repro.sweeps.listing import Named

ROWS = 60
"""More trials than that: what is done or waits is counted, not listed."""
_COUNTED = ("done", "queued", "missing", "submitted")
_TOLD = ("method", "model", "task", "seed", "experiment")
"""Overrides that a trial's name says."""


@dataclass(frozen=True)
class Shown:
    """A trial in the table."""

    name: str
    state: State


def trials(runs: Path, experiment: str | None, given: Mapping[str, str]) -> dict[str, Named]:
    """{run key: trial} of an experiment, or, without a name, of all that was submitted or runs here.

    Raises:
        ConfigError: there is no such experiment.
    """
    found: dict[str, Named] = {}
    for one in submission.all_of(runs):
        for trial in one.trials:
            if experiment in (None, trial["experiment"]):
                found[trial["key"]] = Named(trial["name"], tuple(trial["words"]))
    if experiment is None:
        running = sorted(path.parent.name for path in runs.glob(f"*/{progress.FILE}"))
        return {**found, **{key: Named(key) for key in running if key not in found}}
    if found and not given:
        return found
    return listing.trials(experiment, given, runs / "cache" / "lists")


def look(keys: Sequence[str], results: Path, runs: Path) -> tuple[list[State], bool]:
    """The states of trials, and whether the queue answered."""
    submissions = submission.all_of(runs)
    tasks = queue.tasks()
    places = submission.places(submissions)
    where = {trial["key"]: Path(one.results) for one in submissions for trial in one.trials}
    states = [States(where.get(key, results), runs, tasks, places).of(key) for key in keys]
    return states, tasks is not None


def names(found: Mapping[str, Named]) -> dict[str, str]:
    """{run key: the trial's name, and whatever else differs among the trials}."""
    split = {
        key: dict(word.lstrip("+").split("=", 1) for word in one.words if "=" in word) for key, one in found.items()
    }
    options = dict.fromkeys(name for one in split.values() for name in one)
    told = [name for name in options if name not in _TOLD and not name.startswith(("paths.", "hydra"))]
    differing = [name for name in told if len({one.get(name) for one in split.values() if one}) > 1]
    return {
        key: " ".join([found[key].name, *(f"{_last(name)}={one[name]}" for name in differing if name in one)])
        for key, one in split.items()
    }


def _last(name: str) -> str:
    """learning_rate of trainer.optimiser.learning_rate."""
    return name.rpartition(".")[2]


def table(shown: Sequence[Shown], everything: bool) -> list[str]:
    """The lines: counts, then a row for each trial."""
    counts = Counter(one.state.status for one in shown)
    lines = [f"{len(shown)} trials: " + ", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name])]
    listed = sorted(shown, key=lambda one: STATUSES.index(one.state.status))
    if len(shown) > ROWS and not everything:
        listed = [one for one in listed if one.state.status not in _COUNTED]
        lines.append(f"(of more than {ROWS} trials these are only counted: {', '.join(_COUNTED)}; --all lists them)")
    if not listed:
        return lines
    rows = [("status", "trial", "step", "loss", "left", "job", "")] + [_row(one) for one in listed]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines.append("")
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[6]]).rstrip())
    return lines


def _row(one: Shown) -> tuple[str, ...]:
    state = one.state
    steps = "" if state.step is None else f"{state.step}/{state.steps}"
    loss = "" if state.loss is None else f"{state.loss:.3f}"
    about = state.score if state.status == "done" else state.reason
    return state.status, one.name, steps, loss, duration(state.left), state.job or "", about or ""


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds; nothing where it is not known."""
    if seconds is None:
        return ""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
