"""Configs as nested dicts, which a test may change at any key; here they become typed configs again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from repro.config import rules
from repro.config.compose import trial_config
from repro.config.schema import TrialConfig
from repro.tasks.base import Task
from repro.trials import build
from repro.trials import run as trials_run
from repro.trials.run import Outcome
from repro.trials.spec import trial_spec

if TYPE_CHECKING:
    from omegaconf import DictConfig


def resolved(composed: DictConfig) -> dict[str, Any]:
    """What Hydra composed, interpolations resolved."""
    return trial_config(composed).to_dict()


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; KeyError if there is none."""
    node: Any = config
    for part in key.split("."):
        node = node[part]
    return node


def validate(config: Mapping[str, Any]) -> None:
    """`repro.config.rules.validate`."""
    rules.validate(TrialConfig.from_dict(config))


def format_of(config: Mapping[str, Any]) -> str:
    """`repro.config.rules.format_of`."""
    return rules.format_of(TrialConfig.from_dict(config))


def build_task(config: Mapping[str, Any]) -> Task:
    """`repro.trials.build.build_task`."""
    return build.build_task(TrialConfig.from_dict(config))


def run(
    config: Mapping[str, Any],
    choices: Mapping[str, str] | None = None,
    words: Sequence[str] = (),
    on_step: Callable[[int, int], object] | None = None,
) -> Outcome:
    """`repro.trials.run.run` of a config that was asked for with `words`."""
    return trials_run.run(trial_spec(TrialConfig.from_dict(config), choices, words), on_step)
