"""A trial that is asked for: its config, its key, and what its record says of how it was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.config.compose import chosen, explain, note_given, trial_config
from repro.config.rules import validate
from repro.config.run_key import run_key
from repro.config.schema import TrialConfig
from repro.errors import ConfigError
from repro.store.store import Store

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

_NOT_RECORDED = ("paths.", "paths=", "task.data_dir=", "rerun=", "trainer.joint_trials=")
"""Overrides that say where files lie or how a sweep goes on: records are published, and name the trial alone."""


@dataclass(frozen=True)
class TrialSpec:
    """One trial that is asked for. `trial_spec` makes it, whichever way it is started."""

    config: TrialConfig
    key: str
    choices: Mapping[str, str]
    """Which file of each config group was chosen."""
    command: tuple[str, ...]
    """The command line that runs it alone."""

    @property
    def name(self) -> str:
        """Method, model, task and seed, for people."""
        config = self.config
        return f"{config.method.name} {config.model.name} {config.task.name} seed {config.seed}"

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return Path(self.config.paths.runs_root) / self.key

    @property
    def store(self) -> Store:
        """Where its record goes."""
        return Store(Path(self.config.paths.results_root) / "records")

    def again(self) -> TrialSpec:
        """The same trial, to be run though its record says `failed`."""
        return replace(self, config=replace(self.config, rerun=True))

    @property
    def words(self) -> tuple[str, ...]:
        """Its overrides, as on a command line."""
        return self.command[2:]

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values, for a file or another process."""
        return {
            "key": self.key,
            "config": self.config.to_dict(),
            "choices": dict(self.choices),
            "command": list(self.command),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialSpec:
        """What `to_dict` gave.

        Raises:
            ConfigError: the config is not valid any more, or has another key.
        """
        config = TrialConfig.from_dict(data["config"])
        if (key := run_key(config)) != data["key"]:
            raise ConfigError(
                f"trial {data['key']} has the key {key} now: it was edited, or repro was updated since. Submit it "
                "again."
            )
        return cls(config, key, dict(data["choices"]), tuple(data["command"]))


def trial_spec(
    config: TrialConfig, choices: Mapping[str, str | None] | None = None, words: Sequence[str] = ()
) -> TrialSpec:
    """The one way to ask for a trial. It is not validated yet (`repro.config.rules.validate`).

    Args:
        choices: the file of each config group, as Hydra says it.
        words: its overrides, as on a command line.
    """
    kept = [word for word in words if not word.lstrip("+").startswith(_NOT_RECORDED)]
    named = {group: name for group, name in (choices or {}).items() if name is not None}
    return TrialSpec(config, run_key(config), named, ("repro", "run", *kept))


def composed_spec(composed: DictConfig, hydra: HydraConf) -> TrialSpec:
    """The trial that Hydra composed.

    Args:
        hydra: its own node (`HydraConfig.get()`).
    """
    config, words = trial_config(composed), list(hydra.overrides.task)
    folders = [source.path for source in hydra.runtime.config_sources if source.schema == "file"]
    note_given(config, words)
    return trial_spec(config, recorded_choices(hydra.runtime.choices, folders), words)


def recorded_choices(choices: Mapping[str, str | None], folders: Sequence[str] = ()) -> dict[str, str]:
    """The choices of groups that a record keeps: those of a trial, where the file exists.

    Args:
        folders: config folders of the user's own (`--config-dir`).
    """
    return {group: name for group, name in chosen(choices, folders).items() if not group.startswith("hydra")}


def spec_in_sweep(loader: ConfigLoader, config: DictConfig, words: Sequence[str]) -> TrialSpec:
    """One job of a multirun, composed as Hydra's own launcher does it, and validated.

    Args:
        loader: of Hydra's context.
        config: of the sweep.
        words: the job's overrides.

    Raises:
        ConfigError: it cannot run.
    """
    try:
        composed = loader.load_sweep_config(config, list(words))
        spec = composed_spec(composed, composed.hydra)
    except Exception as error:
        known = explain(error)
        if known is None:
            raise
        raise known from error
    validate(spec.config)
    return spec
