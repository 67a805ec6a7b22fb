"""Bridge for callers that still hold a config as nested dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from repro.config.schema import TrialConfig
from repro.trials.run import Outcome
from repro.trials.run import run as run_spec
from repro.trials.spec import TrialSpec, trial_spec


def spec_of(
    plain: Mapping[str, Any], choices: Mapping[str, str] | None = None, command: Sequence[str] = ()
) -> TrialSpec:
    """The specification of a plain config."""
    words = command[2:] if tuple(command[:2]) == ("repro", "run") else command
    return trial_spec(TrialConfig.from_dict(plain), choices, words)


def run(
    plain: Mapping[str, Any],
    choices: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    on_step: Callable[[int, int], object] | None = None,
) -> Outcome:
    """`repro.trials.run.run` of a plain config."""
    return run_spec(spec_of(plain, choices, command), on_step)
