"""Trials that are asked for, and the files that hold those of one job: plain JSON, one a task of an array."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.config.conversion import to_plain
from repro.errors import ConfigError
from repro.store.files import read_json, write_json_atomic
from repro.trials.spec import TrialSpec

VERSION = 2


@dataclass(frozen=True)
class Chunk:
    """The trials of one job, and the folder in which they were asked for: their paths may be relative to it."""

    trials: tuple[TrialSpec, ...]
    folder: str

    def write(self, path: Path) -> None:
        """Keep it in a file.

        Raises:
            StoreError: the file cannot be written.
        """
        trials = [trial.to_dict() for trial in self.trials]
        write_json_atomic(path, {"version": VERSION, "folder": self.folder, "trials": trials})

    @classmethod
    def read(cls, path: Path) -> Chunk:
        """The chunk in a file.

        Raises:
            ConfigError: there is no such file, or it holds something else.
            StoreError: it cannot be read, or is no JSON.
        """
        try:
            data = read_json(path)
            if data["version"] != VERSION:
                raise ValueError(f"version {data['version']}, this program reads {VERSION}")
            trials = tuple(TrialSpec.from_dict(one) for one in data["trials"])
            chunk = cls(trials, data["folder"])
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: there is no such file; it is written when trials are submitted.") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} holds no trials of a job ({error}). Submit them again.") from error
        return chunk


def alike(trial: TrialSpec) -> str:
    """Equal for trials that can share a model in memory: they differ in their seed and hyperparameters only."""
    config = trial.config
    names = [config.trainer.dtype, config.method.name, config.task.name, dict(trial.choices)]
    return json.dumps([to_plain(config.model), *names], sort_keys=True)


def cut(trials: Sequence[TrialSpec], size: int) -> list[tuple[TrialSpec, ...]]:
    """Pieces of at most `size` trials, alike ones side by side, otherwise in their order."""
    groups: dict[str, list[TrialSpec]] = {}
    for trial in trials:
        groups.setdefault(alike(trial), []).append(trial)
    ordered = [trial for group in groups.values() for trial in group]
    return [tuple(ordered[start : start + size]) for start in range(0, len(ordered), size)]
