"""Results of trials that an executor ran for several jobs of a multirun, until the job of each asks for its own."""

from __future__ import annotations

from collections.abc import Sequence

from repro.errors import ReproError
from repro.sweeps.executors.base import Executor, Result
from repro.trials.run import Outcome, run
from repro.trials.spec import TrialSpec

_PREPARED: dict[str, Result] = {}
"""By run key."""


def prepare(executor: Executor, specs: Sequence[TrialSpec]) -> None:
    """Run these trials now, and keep their results."""
    unique = {spec.key: spec for spec in specs}
    executor.run(list(unique.values()), lambda spec, result: _PREPARED.update({spec.key: result}))


def outcome(spec: TrialSpec) -> Outcome:
    """A trial's outcome: as prepared, else it is run now.

    Raises:
        ReproError: it ended with this.
    """
    result = _PREPARED.pop(spec.key, None)
    if isinstance(result, ReproError):
        raise result
    return result or run(spec)
