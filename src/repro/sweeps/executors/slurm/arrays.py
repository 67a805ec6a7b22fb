"""Job arrays on disk: a folder for each, with the trials of every task, the batch script, and what the jobs print."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.config.conversion import from_plain
from repro.errors import ConfigError
from repro.store.damage import Damaged, OnDamage, read_json
from repro.store.files import write_json_atomic

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
    """A trial of a job: `TrialSpec.to_dict`, whose config is not checked before somebody wants to run it."""

    key: str
    config: dict[str, Any]
    choices: dict[str, str]
    command: list[str]

    @property
    def name(self) -> str:
        """Method, model, task and seed."""
        return trial_name(self.config)

    @property
    def experiment(self) -> str | None:
        """The exhibit that it was submitted for."""
        return self.config.get("experiment_name")

    def spec(self) -> TrialSpec:
        """The trial.

        Raises:
            ConfigError: it was edited, or repro was updated since.
        """
        from repro.trials.spec import TrialSpec

        return TrialSpec.from_dict(vars(self))


@dataclass
class JobArray:
    """One job array."""

    folder: Path
    created: str
    directory: str
    """Where the trials were asked for: their paths may be relative to it."""
    results: str
    """Absolute."""
    settings: dict[str, object]
    tasks: list[list[SubmittedTrial]]
    job: str | None = None
    """Slurm's id; None if it was not submitted (or we were killed in between)."""

    @property
    def name(self) -> str:
        """The jobs' name, by which the queue is searched: it is known before Slurm gives an id."""
        return name_of(self.folder)

    def trials(self) -> Iterator[SubmittedTrial]:
        """Of all tasks."""
        for task in self.tasks:
            yield from task

    def write(self) -> None:
        """Write `array.json`.

        Raises:
            StoreError: it cannot be written.
        """
        data = {key: value for key, value in vars(self).items() if key != "folder"}
        tasks = [[vars(trial) for trial in task] for task in self.tasks]
        write_json_atomic(self.folder / FILE, data | {"version": VERSION, "tasks": tasks})


def name_of(folder: Path) -> str:
    """The name of the jobs of an array's folder."""
    return f"repro-{folder.name}"


def new_array(tasks: Sequence[Sequence[TrialSpec]], settings: Mapping[str, object]) -> JobArray:
    """An array whose tasks run these trials; nothing is on disk yet."""
    paths, now = tasks[0][0].config.paths, datetime.now(UTC)
    folder = Path(paths.runs_root).absolute() / FOLDER / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    trials = [[from_plain(SubmittedTrial, spec.to_dict(), {}) for spec in task] for task in tasks]
    results = str(Path(paths.results_root).absolute())
    return JobArray(folder, now.isoformat(), str(Path.cwd()), results, dict(settings), trials)


def read(folder: Path) -> JobArray:
    """The array of a folder.

    Raises:
        ConfigError: there is none.
        Damaged: its file is of another version of repro, or damaged.
    """
    path = folder / FILE
    try:
        data = read_json(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file; it is written when trials are submitted.") from error
    if isinstance(data, dict) and data.pop("version", None) != VERSION:
        raise Damaged(path, "is of another version of repro", f"delete {folder}, and submit its trials again")
    try:
        array = from_plain(JobArray, data if not isinstance(data, dict) else {**data, "folder": folder}, {})
        [trial.name for trial in array.trials()]
    except (ConfigError, TypeError, KeyError) as error:
        raise Damaged(path, f"is damaged ({error})", f"delete {folder}, which holds no results") from error
    return array


def trial_name(config: Mapping[str, Any]) -> str:
    """Method, model, task and seed."""
    return " ".join([*(config[group]["name"] for group in ("method", "model", "task")), f"seed {config['seed']}"])


_READ: dict[Path, tuple[int, JobArray]] = {}
"""Arrays by their folder, with the time of their file: `repro watch` looks at them again and again."""


def all_arrays(runs: Path, on_damage: OnDamage | None = None) -> list[JobArray]:
    """Every array beside these run folders, oldest first.

    Args:
        on_damage: called with each file that cannot be used; None: the first is raised.
    """
    arrays = []
    for path in (runs / FOLDER).glob(f"*/{FILE}"):
        folder = path.parent
        try:
            changed = path.stat().st_mtime_ns
            if folder not in _READ or _READ[folder][0] != changed:
                _READ[folder] = (changed, read(folder))
        except (FileNotFoundError, ConfigError):  # removed since
            continue
        except Damaged as error:
            if on_damage is None:
                raise
            on_damage(error)
            continue
        arrays.append(_READ[folder][1])
    return sorted(arrays, key=lambda array: (array.created, array.name))


def tasks_by_key(arrays: Sequence[JobArray]) -> dict[str, list[Task]]:
    """{run key: every task that holds it}, oldest first."""
    tasks: dict[str, list[Task]] = {}
    for array in arrays:
        for number, trials in enumerate(array.tasks):
            for trial in trials:
                tasks.setdefault(trial.key, []).append((array.name, number))
    return tasks
