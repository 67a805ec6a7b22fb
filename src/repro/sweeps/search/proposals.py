"""The next setting to try, by a sampler of the library optuna, as a function of what was tried before.

A fresh study is made for every proposal, and its random numbers come from (seed, number): so nothing of a study needs
to be kept, and a search that was interrupted proposes what an undisturbed one would have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from repro.errors import ConfigError
from repro.store.searches.journal import Sampler
from repro.store.searches.outcomes import Tried, Values
from repro.sweeps.search.space import Dimension

ATTEMPTS = 100
"""So many draws may hit a setting that was tried before; then the space counts as exhausted."""


def propose(
    space: Sequence[Dimension], tried: Sequence[Tried], sampler: Sampler, number: int, direction: str
) -> Values | None:
    """The setting with this number; None where nothing new is found.

    Args:
        space: the dimensions.
        tried: all settings before it. An open one (it runs meanwhile) counts as bad as the worst so far, which keeps
            the proposals of one batch apart.
        number: of the proposal, from 0.
        direction: maximize | minimize
    """
    known = {tuple(sorted(setting.values.items())) for setting in tried}
    for attempt in range(ATTEMPTS):
        values = _ask(space, tried, sampler, _seed(sampler.seed, number, attempt), direction)
        if tuple(sorted(values.items())) not in known:
            return values
    return None


def _seed(seed: int, number: int, attempt: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {number} {attempt}".encode()).digest()[:4], "big")


def _ask(space: Sequence[Dimension], tried: Sequence[Tried], sampler: Sampler, seed: int, direction: str) -> Values:
    optuna = _library()
    samplers = optuna.samplers
    made = (
        samplers.RandomSampler(seed=seed)
        if sampler.name == "random"
        else samplers.TPESampler(seed=seed, n_startup_trials=sampler.startup)
    )
    distributions = {one.name: _distribution(optuna, one) for one in space}
    study = optuna.create_study(direction=direction, sampler=made)
    done = [one.outcome.value for one in tried if one.outcome.value is not None]
    worst = (min if direction == "maximize" else max)(done, default=0.0)
    states = optuna.trial.TrialState
    for one in tried:
        failed = one.outcome.status == "failed"
        value = None if failed else worst if one.outcome.value is None else one.outcome.value
        study.add_trial(
            optuna.trial.create_trial(
                params={dimension.name: dimension.value(one.values[dimension.name]) for dimension in space},
                distributions=distributions,
                state=states.FAIL if failed else states.COMPLETE,
                value=value,
            )
        )
    asked = study.ask(distributions).params
    return {dimension.name: dimension.shown(asked[dimension.name]) for dimension in space}


def _library() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("hydra/sweeper=optuna needs the library optuna: pip install 'repro[search]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, one: Dimension) -> Any:
    kinds = optuna.distributions
    if one.choices:
        return kinds.CategoricalDistribution(one.choices)
    if one.whole:
        return kinds.IntDistribution(int(one.low), int(one.high), log=one.log, step=int(one.step or 1))
    return kinds.FloatDistribution(one.low, one.high, log=one.log, step=one.step)
