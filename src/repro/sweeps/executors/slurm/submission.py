"""What was submitted at one go: a folder with the chunks of every array, and a file that says which trial is where."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repro.errors import StoreError
from repro.store.files import read_json, write_json_atomic
from repro.sweeps.executors.slurm.chunks import Chunk
from repro.trials.spec import TrialSpec

FOLDER = "slurm"
"""Beside the run folders."""
FILE = "submission.json"


@dataclass
class Array:
    """One job array."""

    name: str
    """The jobs' name, by which the queue is searched: it is known before Slurm gives an id."""
    tasks: list[list[str]]
    """Run keys of each task."""
    job: str | None = None
    """Slurm's id, None if it was not submitted (or we were killed in between)."""


@dataclass
class Submission:
    """One call's jobs."""

    root: Path
    created: str
    results: str
    """Absolute, as `runs`."""
    runs: str
    folder: str
    """Where it was asked for."""
    settings: dict[str, Any]
    trials: list[dict[str, Any]]
    """key, name, words and experiment of everything that was asked for, found done or submitted, in order."""
    waiting: list[str] = field(default_factory=list)
    """Trials that were asked for and cannot be submitted before others are done."""
    arrays: list[Array] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Its folder's name."""
        return self.root.name

    @classmethod
    def begin(cls, asked: Sequence[TrialSpec], settings: Mapping[str, Any], waiting: Sequence[str] = ()) -> Submission:
        """A new submission of these trials; nothing is on disk yet."""
        paths = asked[0].config.paths
        runs, now = Path(paths.runs_root).absolute(), datetime.now(UTC)
        return cls(
            root=runs / FOLDER / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            created=now.isoformat(),
            results=str(Path(paths.results_root).absolute()),
            runs=str(runs),
            folder=str(Path.cwd()),
            settings=dict(settings),
            trials=[
                {"key": one.key, "name": one.name, "words": list(one.words), "experiment": one.config.experiment_name}
                for one in asked
            ],
            waiting=list(waiting),
        )

    def add(self, pieces: Sequence[Sequence[TrialSpec]]) -> Path:
        """One more array, a task for each piece; writes the tasks' files and returns their folder.

        Raises:
            StoreError: a file cannot be written.
        """
        number = len(self.arrays)
        folder = self.root / f"array-{number}"
        for index, piece in enumerate(pieces):
            Chunk(tuple(piece), self.folder).write(folder / f"{index}.json")
        tasks = [[trial.key for trial in piece] for piece in pieces]
        self.arrays.append(Array(f"repro-{self.id}-{number}", tasks))
        self.write()
        return folder

    def write(self) -> None:
        """Keep it.

        Raises:
            StoreError: the file cannot be written.
        """
        data = asdict(self)
        del data["root"]
        write_json_atomic(self.root / FILE, data)

    @classmethod
    def read(cls, root: Path) -> Submission:
        """The submission in a folder.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it is damaged.
        """
        data = read_json(root / FILE)
        try:
            arrays = [Array(**one) for one in data.pop("arrays")]
            return cls(root=root, arrays=arrays, **data)
        except (TypeError, KeyError, AttributeError) as error:
            raise StoreError(f"{root / FILE} is damaged ({error}). Delete that folder: it holds no results.") from error

    def files(self) -> list[Path]:
        """The chunks of every task."""
        return [
            self.root / f"array-{number}" / f"{index}.json"
            for number, array in enumerate(self.arrays)
            for index in range(len(array.tasks))
        ]


def all_of(runs: Path) -> list[Submission]:
    """Every submission beside these run folders, oldest first.

    Raises:
        StoreError: a damaged one.
    """
    found = []
    for path in sorted((runs / FOLDER).glob(f"*/{FILE}")):
        try:
            found.append(Submission.read(path.parent))
        except FileNotFoundError:  # removed since
            continue
    return sorted(found, key=lambda one: (one.created, one.id))


def places(submissions: Sequence[Submission]) -> dict[str, list[tuple[str, int]]]:
    """{run key: (name of the array, number of the task) of every job that holds it}, oldest first."""
    found: dict[str, list[tuple[str, int]]] = {}
    for submission in submissions:
        for array in submission.arrays:
            for number, keys in enumerate(array.tasks):
                for key in keys:
                    found.setdefault(key, []).append((array.name, number))
    return found
