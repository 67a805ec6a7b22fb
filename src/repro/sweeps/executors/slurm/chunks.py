"""Trials that are asked for, and the files that hold those of one job: plain JSON, one a task of an array."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repro.config.schema import run_key
from repro.errors import ConfigError
from repro.store.files import read_json, write_json_atomic

VERSION = 1


@dataclass(frozen=True)
class Asked:
    """One trial that is asked for, with all that `repro.trials.run.run` wants of it."""

    key: str
    words: tuple[str, ...]
    """Its overrides, as on a command line."""
    config: Mapping[str, Any]
    """The resolved config."""
    choices: Mapping[str, Any]
    """Which file of each config group was chosen, for the record."""
    command: tuple[str, ...]
    """The command line, for the record."""

    @property
    def experiment(self) -> str | None:
        """The experiment that it belongs to."""
        return self.config.get("experiment_name")

    @property
    def name(self) -> str:
        """Method, model, task and seed."""
        return name_of(self.config)

    def again(self) -> Asked:
        """The same trial, to be run though its record says `failed`."""
        return Asked(self.key, self.words, {**self.config, "rerun": True}, self.choices, self.command)


def name_of(config: Mapping[str, Any]) -> str:
    """Method, model, task and seed of a resolved config, as a console shows a running trial."""
    return " ".join([*(config[group]["name"] for group in ("method", "model", "task")), f"seed {config['seed']}"])


@dataclass(frozen=True)
class Chunk:
    """The trials of one job, and the folder in which they were asked for: their paths may be relative to it."""

    trials: tuple[Asked, ...]
    folder: str

    def write(self, path: Path) -> None:
        """Keep it in a file.

        Raises:
            StoreError: the file cannot be written.
        """
        trials = [asdict(trial) for trial in self.trials]
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
            trials = tuple(
                Asked(one["key"], tuple(one["words"]), one["config"], one["choices"], tuple(one["command"]))
                for one in data["trials"]
            )
            chunk = cls(trials, data["folder"])
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: there is no such file; it is written when trials are submitted.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} holds no trials of a job ({error}). Submit them again.") from error
        for trial in chunk.trials:
            if run_key(dict(trial.config)) != trial.key:
                raise ConfigError(
                    f"{path}: trial {trial.key} has another key now: the file was edited, or repro was updated since. "
                    "Submit it again."
                )
        return chunk


def alike(trial: Asked) -> str:
    """Equal for trials that can share a model in memory: they differ in their seed and hyperparameters only."""
    config = trial.config
    return json.dumps(
        [config["model"], config["trainer"]["dtype"], config["method"]["name"], config["task"]["name"], trial.choices],
        sort_keys=True,
    )


def cut(trials: Sequence[Asked], size: int) -> list[tuple[Asked, ...]]:
    """Pieces of at most `size` trials, alike ones side by side, otherwise in their order."""
    groups: dict[str, list[Asked]] = {}
    for trial in trials:
        groups.setdefault(alike(trial), []).append(trial)
    ordered = [trial for group in groups.values() for trial in group]
    return [tuple(ordered[start : start + size]) for start in range(0, len(ordered), size)]
