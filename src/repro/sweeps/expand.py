"""The trials of an experiment: composed, keyed, each once, in the stages in which they can run."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.config import compose
from repro.config.rules import validate
from repro.config.run_key import run_key
from repro.config.schema import TrialConfig
from repro.errors import ConfigError
from repro.sweeps import grids
from repro.trials.spec import TrialSpec, recorded_choices, trial_spec

if TYPE_CHECKING:
    from omegaconf import DictConfig

FOLDERS = ("REPRO_DATA_ROOT", "REPRO_RESULTS_ROOT", "REPRO_RUNS_ROOT", "REPRO_CONFIG_DIR")
PROMPT = "prompt.safetensors"
"""What a finished trial leaves in its run folder."""


@dataclass(frozen=True)
class Planned:
    """One trial of an experiment."""

    overrides: tuple[str, ...]
    """As on the command line, the experiment's name included."""
    config: TrialConfig
    key: str | None
    """Run key; None while the prompt that it starts from is not trained."""
    waits_for: str | None = None
    """Run key of the trial whose prompt it starts from."""
    search: bool = False
    """A point of a search grid: nobody published the hyperparameters."""
    start_task: str | None = None
    """The task of the trial that it waits for."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """Which file of each config group was chosen."""

    @cached_property
    def plain(self) -> dict[str, Any]:
        """Bridge: the config as nested dicts."""
        return self.config.to_dict()

    @property
    def spec(self) -> TrialSpec:
        """The trial, to be run."""
        return trial_spec(self.config, self.choices, self.overrides)


Choice = tuple[tuple[str, ...], tuple[str, ...]]
"""The environment's folders, and the overrides that choose files."""


@dataclass(frozen=True)
class _Composed:
    """What Hydra makes of some choices."""

    composed: DictConfig
    config: TrialConfig
    choices: Mapping[str, str]


# What was composed in this process: exhibits share most of their cells, and the files do not change under us.
_KNOWN: dict[Choice, _Composed] = {}
_TYPED: dict[tuple[Choice, str, str], object] = {}


class Composer:
    """Overrides to typed configs: choices of groups are composed by Hydra once, plain values are set in a copy.

    A value is typed by the schema, as Hydra does it. Only the folders under `paths` are interpolated by other values,
    so an override of those is a choice like a group.
    """

    def __init__(self) -> None:
        self._known, self._typed = _KNOWN, _TYPED

    def spec(self, trial: Mapping[str, str]) -> TrialSpec:
        """A trial, to be run.

        Raises:
            ConfigError: as `config`.
        """
        config, choices = self.composed(trial)
        return trial_spec(config, choices, grids.arguments(trial))

    def plain(self, trial: Mapping[str, str]) -> dict[str, Any]:
        """Bridge: the config of a trial as nested dicts."""
        return self.config(trial).to_dict()

    def config(self, trial: Mapping[str, str]) -> TrialConfig:
        """The config of a trial, as `repro run` would have it.

        Raises:
            ConfigError: a key, a value or a file that does not exist.
        """
        return self.composed(trial)[0]

    def composed(self, trial: Mapping[str, str]) -> tuple[TrialConfig, Mapping[str, str]]:
        """The config of a trial, and which file of each group was chosen."""
        name = trial.get("experiment")
        if name is not None and _only_names(name):
            config, choices = self.composed({k: v for k, v in trial.items() if k != "experiment"})
            return replace(config, experiment_name=name), {**choices, "experiment": name}
        folders = tuple(os.environ.get(name, "") for name in FOLDERS)  # they are interpolated when a config is resolved
        chosen = (folders, tuple(f"{key}={value}" for key, value in trial.items() if _is_choice(key)))
        try:
            if chosen not in self._known:
                self._known[chosen] = _composed(chosen[1])
            known = self._known[chosen]
            config = replace(known.config, method=replace(known.config.method))  # its start's hash is set below
            for key, value in trial.items():
                if not _is_choice(key):
                    config = config.with_value(key, self._value(chosen, key, value))
            compose.note_start(config.method)
            return config, known.choices
        except Exception as error:
            explained = compose.explain(error)
            if explained is None:
                raise
            raise explained from error

    def _value(self, chosen: Choice, key: str, text: str) -> object:
        """A value as the schema types it."""
        from omegaconf import OmegaConf

        if (chosen, key, text) not in self._typed:
            config = copy.deepcopy(self._known[chosen].composed)
            OmegaConf.update(config, key, _parsed(text))
            value = OmegaConf.select(config, key)
            plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            self._typed[chosen, key, text] = plain
        return self._typed[chosen, key, text]


def _composed(words: Sequence[str]) -> _Composed:
    composed = compose.compose(list(words), hydra=True)
    choices = recorded_choices(composed.hydra.runtime.choices)
    return _Composed(composed, compose.trial_config(composed), choices)


def _only_names(experiment: str) -> bool:
    """Whether an experiment's file sets nothing of a trial but its name: its trials need no composing of their own."""
    path = compose.config_file("experiment", experiment)
    return path.is_file() and _file_only_names(path, experiment)


@cache
def _file_only_names(path: Path, experiment: str) -> bool:
    import yaml  # type: ignore[import-untyped]

    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    groups = [
        key for entry in content.pop("defaults", []) for key in (entry if isinstance(entry, dict) else {entry: 0})
    ]
    for key in ("hydra", "title"):
        content.pop(key, None)
    return content == {"experiment_name": experiment} and all(key == "override /hydra/sweeper" for key in groups)


def _is_choice(key: str) -> bool:
    return key.startswith("paths.") or _is_group(key)


def _is_group(key: str) -> bool:
    return _is_folder_of(key.partition("@")[0], tuple(compose.conf_dirs()))


@cache
def _is_folder_of(group: str, folders: tuple[Path, ...]) -> bool:
    return "." not in group and any((folder / group).is_dir() for folder in folders)


def _parsed(text: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(f"key={text}").value()


class Trials:
    """The trials of some grids, narrowed by the command line and by models.

    Args:
        of: the grids.
        given: overrides that replace the grids' own (an experiment's name among them).
        models: see `grids.kept`.
    """

    def __init__(self, of: Sequence[Mapping[str, Any]], given: Mapping[str, str], models: Sequence[str] = ()):
        self._grids, self.given, self._models = list(of), dict(given), list(models)
        self._composer = Composer()

    def stages(self) -> Iterator[Callable[[], list[grids.Overrides]]]:
        """First the trials that start from nothing, then those that start from theirs, each when it is asked for."""
        yield self._first
        if any("after" in grid for grid in self._grids):
            yield self._second

    def _own(self, grid: Mapping[str, Any], points: bool = True) -> list[tuple[grids.Overrides, bool]]:
        """A grid's trials and whether they are points of a search (without `points` one trial stands for a search)."""
        found: list[tuple[grids.Overrides, bool]] = []
        for trial in grids.product(grid, self.given):
            name = trial.get("model") or self._composer.config(trial).model.name if self._models else ""
            if not grids.kept(name, self._models):
                continue
            search = self._composer.config(trial).recipe.search if grid.get("search") else None
            own = grids.searched(trial, search) if search and points else [trial]
            found += [(point, bool(search)) for point in own]
        return found

    def _earlier(self, grid: Mapping[str, Any], trial: grids.Overrides) -> grids.Overrides | None:
        """The first stage's trial of a trial. The experiment's own settings are for its second stage."""
        return grids.earlier(grid, trial)

    def _first(self) -> list[grids.Overrides]:
        found: list[grids.Overrides] = []
        for grid in self._grids:
            for trial, _ in self._own(grid):
                before = self._earlier(grid, trial)
                found.append(trial if before is None else self._placed(before))
        return _once(found)

    def _placed(self, trial: grids.Overrides) -> grids.Overrides:
        """With the command line's folders."""
        return trial | {key: value for key, value in self.given.items() if key.startswith("paths.")}

    def _second(self) -> list[grids.Overrides]:
        found: list[grids.Overrides] = []
        for grid in self._grids:
            for trial, _ in self._own(grid) if "after" in grid else []:
                before = self._earlier(grid, trial)
                assert before is not None
                path = self._prompt(self._placed(before))
                if not path.is_file():
                    raise ConfigError(
                        f"{path}: the prompt that {' '.join(grids.arguments(trial))} starts from is not there. "
                        f"Its trial did not end: repro run {' '.join(grids.arguments(before))}."
                    )
                found.append(_started(trial, before, path))
        return _once(found)

    def _prompt(self, trial: grids.Overrides) -> Path:
        return self._composer.spec(trial).folder / PROMPT

    def planned(self, points: bool = True) -> list[Planned]:
        """Every trial once, by its key; a trial that waits for another has none yet.

        Args:
            points: every point of a search grid; False: one trial for each search.

        Raises:
            ConfigError: a trial that cannot run, or a grid that cannot be read.
        """
        found: dict[tuple[str, ...], Planned] = {}
        for grid in self._grids:
            for trial, search in self._own(grid, points):
                before = self._earlier(grid, trial)
                if before is None:
                    self._add(found, trial, search)
                    continue
                self._add(found, self._placed(before), False)
                path = self._prompt(self._placed(before))
                if path.is_file():
                    self._add(found, _started(trial, before, path), search)
                else:
                    self._add(found, trial, search, path.parent.name, before["task"])
        return list(found.values())

    def _add(
        self,
        found: dict[tuple[str, ...], Planned],
        trial: grids.Overrides,
        search: bool,
        waits_for: str | None = None,
        start_task: str | None = None,
    ) -> None:
        config, choices = self._composer.composed(trial)
        words = tuple(grids.arguments(trial))
        try:
            validate(config)
        except ConfigError as error:
            raise ConfigError(f"{' '.join(words)}: {error}") from error
        key = run_key(config)
        name = (key, waits_for or "")
        if name not in found:
            found[name] = Planned(words, config, None if waits_for else key, waits_for, search, start_task, choices)


def _started(trial: grids.Overrides, before: Mapping[str, str], path: Path) -> grids.Overrides:
    """A trial that starts from the prompt of an earlier one."""
    return trial | {"method.start_from": str(path), "method.start_task": before["task"]}


def _once(trials: Sequence[grids.Overrides]) -> list[grids.Overrides]:
    return list({tuple(sorted(trial.items())): trial for trial in trials}.values())
