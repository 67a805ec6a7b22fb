"""Job arrays on disk: a folder for each, with the trials of every task, the batch script, and what the jobs print."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.errors import ConfigError, StoreError
from repro.store.files import read_json, write_json_atomic

if TYPE_CHECKING:
    from repro.trials.spec import TrialSpec

FOLDER = "slurm"
"""Beside the run folders."""
FILE = "array.json"
VERSION = 2
Task = tuple[str, int]
"""The name of an array, and the number of a task in it."""


@dataclass(frozen=True)
class SubmittedTrial:
    """A trial of a job, as far as `repro status` needs it."""

    key: str
    name: str
    """Method, model, task and seed."""
    words: tuple[str, ...]
    """Overrides."""
    experiment: str | None
    data: Mapping[str, Any]
    """The whole trial (`TrialSpec.to_dict`)."""


@dataclass(frozen=True)
class JobArray:
    """One job array."""

    folder: Path
    created: str
    directory: str
    """Where the trials were asked for: their paths may be relative to it."""
    results: str
    """Absolute."""
    settings: Mapping[str, object]
    tasks: tuple[tuple[SubmittedTrial, ...], ...]
    job: str | None = None
    """Slurm's id; None if it was not submitted (or we were killed in between)."""

    @property
    def name(self) -> str:
        """The jobs' name, by which the queue is searched: it is known before Slurm gives an id."""
        return f"repro-{self.folder.name}"

    def trials(self) -> Iterator[SubmittedTrial]:
        """Of all tasks."""
        for task in self.tasks:
            yield from task

    def write(self) -> None:
        """Write `array.json`.

        Raises:
            StoreError: it cannot be written.
        """
        tasks = [[trial.data for trial in task] for task in self.tasks]
        data = {"version": VERSION, "created": self.created, "job": self.job, "directory": self.directory}
        data |= {"results": self.results, "settings": self.settings, "tasks": tasks}
        write_json_atomic(self.folder / FILE, data)

    def submitted_as(self, job: str) -> JobArray:
        """The same array with Slurm's id, written."""
        array = replace(self, job=job)
        array.write()
        return array


def new_array(tasks: Sequence[Sequence[TrialSpec]], settings: Mapping[str, object]) -> JobArray:
    """An array whose tasks run these trials; nothing is on disk yet."""
    paths, now = tasks[0][0].config.paths, datetime.now(UTC)
    folder = Path(paths.runs_root).absolute() / FOLDER / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    rows = tuple(tuple(_trial(spec.to_dict()) for spec in task) for task in tasks)
    results = str(Path(paths.results_root).absolute())
    return JobArray(folder, now.isoformat(), str(Path.cwd()), results, settings, rows)


def read(folder: Path) -> JobArray:
    """The array of a folder.

    Raises:
        ConfigError: there is none, or it is of another version of repro.
        StoreError: its file is damaged.
    """
    path = folder / FILE
    try:
        data = read_json(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file; it is written when trials are submitted.") from error
    try:
        if data.pop("version") != VERSION:
            raise ConfigError(f"{path} is of another version of repro. Delete {folder}, and submit its trials again.")
        tasks = tuple(tuple(map(_trial, task)) for task in data.pop("tasks"))
        return JobArray(folder=folder, tasks=tasks, **data)
    except (TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} is damaged ({error}). Delete its folder: it holds no results.") from error


def trial_name(config: Mapping[str, Any]) -> str:
    """Method, model, task and seed."""
    return " ".join([*(config[group]["name"] for group in ("method", "model", "task")), f"seed {config['seed']}"])


def _trial(data: Mapping[str, Any]) -> SubmittedTrial:
    config, words = data["config"], tuple(data["command"][2:])
    return SubmittedTrial(data["key"], trial_name(config), words, config.get("experiment_name"), data)


_READ: dict[Path, tuple[int, JobArray]] = {}
"""Arrays by their folder, with the time of their file: `repro watch` looks at them again and again."""


def all_arrays(runs: Path) -> list[JobArray]:
    """Every array beside these run folders, oldest first.

    Raises:
        ConfigError, StoreError: as `read`.
    """
    arrays = []
    for path in (runs / FOLDER).glob(f"*/{FILE}"):
        try:
            changed = path.stat().st_mtime_ns
        except FileNotFoundError:  # removed since
            continue
        if path.parent not in _READ or _READ[path.parent][0] != changed:
            _READ[path.parent] = (changed, read(path.parent))
        arrays.append(_READ[path.parent][1])
    return sorted(arrays, key=lambda array: (array.created, array.name))


def tasks_by_key(arrays: Sequence[JobArray]) -> dict[str, list[Task]]:
    """{run key: every task that holds it}, oldest first."""
    tasks: dict[str, list[Task]] = {}
    for array in arrays:
        for number, trials in enumerate(array.tasks):
            for trial in trials:
                tasks.setdefault(trial.key, []).append((array.name, number))
    return tasks
