"""Overrides to typed configs, quickly: groups are composed by Hydra once, plain values are set in a copy."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from repro.config import compose
from repro.config.schema import TrialConfig
from repro.errors import ConfigError
from repro.trials.spec import TrialSpec, recorded_choices, trial_spec

FOLDERS = ("REPRO_DATA_ROOT", "REPRO_RESULTS_ROOT", "REPRO_RUNS_ROOT", "REPRO_CONFIG_DIR")
"""Environment variables that say where a config's files are, and what it interpolates."""

Overrides = dict[str, str]
"""{key: value as text}, in the order of the command line."""


def arguments(trial: Mapping[str, str]) -> list[str]:
    """The overrides as they stand on a command line."""
    return [f"{key}={value}" for key, value in trial.items()]


def composed(trial: Mapping[str, str]) -> TrialConfig:
    """The config of a trial, as `repro run` would have it.

    Only the folders under `paths` are interpolated by other values, so their overrides are composed like those that
    choose files of a group.

    Raises:
        ConfigError: a key, a value or a file that does not exist.
    """
    return _composed(trial)[0]


def spec_of(trial: Mapping[str, str]) -> TrialSpec:
    """A trial as it is asked for."""
    config, choices = _composed(trial)
    words = arguments(trial)
    recipe = dataclasses.replace(config.recipe, sources=dict(config.recipe.sources))
    config = dataclasses.replace(config, recipe=recipe)  # sections are shared with other trials
    compose.note_given(config, words)
    return trial_spec(config, choices, words)


class _Composed(NamedTuple):
    config: TrialConfig
    choices: Mapping[str, str]


_KNOWN: dict[tuple[tuple[str, ...], ...], _Composed] = {}
"""What was composed in this process: exhibits share most of their cells, and the files do not change meanwhile."""


def _composed(trial: Mapping[str, str]) -> _Composed:
    name = trial.get("experiment")
    if name is not None and _only_names(name):
        config, choices = _composed({key: value for key, value in trial.items() if key != "experiment"})
        return _Composed(dataclasses.replace(config, experiment_name=name), {**choices, "experiment": name})
    config, choices = _of_files(arguments({key: value for key, value in trial.items() if _is_choice(key)}))
    for key, text in trial.items():
        if not _is_choice(key):
            config = _with_value(config, key, text)
    if config.method.start_from:
        config = dataclasses.replace(config, method=copy.copy(config.method))
        compose.note_start(config.method)
    return _Composed(config, choices)


def _of_files(words: Sequence[str]) -> _Composed:
    """What overrides that choose files give."""
    chosen = (tuple(os.environ.get(folder, "") for folder in FOLDERS), tuple(words))
    if chosen not in _KNOWN:
        try:
            made = compose.compose(list(words), hydra=True)
            choices = recorded_choices(made.hydra.runtime.choices)
            _KNOWN[chosen] = _Composed(compose.trial_config(made), choices)
        except Exception as error:
            known = compose.explain(error)
            if known is None:
                raise
            raise known from error
    return _KNOWN[chosen]


def _with_value(config: TrialConfig, key: str, text: str) -> TrialConfig:
    """A copy with another value; `2` is a number or a text, as the field wants it."""
    value = parsed(text)
    try:
        return config.with_value(key, value)
    except ConfigError:
        if value is None or isinstance(value, str | list | dict):
            raise
        try:
            return config.with_value(key, text)
        except ConfigError:
            pass
        raise


def parsed(text: str) -> object:
    """A value of the command line as Hydra reads it; what is none of its literals is a text."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        return text


def experiment_file(name: str) -> dict[str, Any]:
    """What an experiment's file says; empty where there is no such file.

    Raises:
        ConfigError: it is not YAML, or no mapping.
    """
    path = compose.config_file("experiment", name)
    return _parsed(path, path.stat().st_mtime_ns) if path.is_file() else {}


@cache
def _parsed(path: Path, changed: int) -> dict[str, Any]:
    """The content of a file that changed last at that time."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no experiment: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is no experiment: it needs `key: value` lines.")
    return content


def defaults(content: Mapping[str, object]) -> list[object]:
    """The entries of a file's defaults list."""
    entries = content.get("defaults")
    return entries if isinstance(entries, list) else []


def _only_names(experiment: str) -> bool:
    """Whether an experiment's file sets nothing of a trial but its name: its trials need no composing of their own."""
    content = experiment_file(experiment)
    groups = {key for entry in defaults(content) for key in (entry if isinstance(entry, dict) else [str(entry)])}
    settings = content.keys() - {"defaults", "hydra", "title", "experiment_name"}
    return not settings and content.get("experiment_name") == experiment and groups <= {"override /hydra/sweeper"}


def _is_choice(key: str) -> bool:
    return key.startswith("paths.") or _is_group(key)


def _is_group(key: str) -> bool:
    return "." not in key and _is_folder(key.partition("@")[0], tuple(compose.conf_dirs()))


@cache
def _is_folder(group: str, folders: tuple[Path, ...]) -> bool:
    return any((folder / group).is_dir() for folder in folders)
