"""One trial after another, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from repro.errors import Interrupted, ReproError
from repro.sweeps.executors.base import MissingModels, OnResult
from repro.trials.run import run
from repro.trials.spec import TrialSpec


class Serial:
    """Runs trials one after another."""

    returns_early = False

    def run(self, specs: Sequence[TrialSpec], on_result: OnResult) -> None:
        """See `Executor.run`."""
        missing = MissingModels()
        for spec in specs:
            if (known := missing.error(spec)) is not None:
                on_result(spec, known)
                continue
            try:
                outcome = run(spec)
            except Interrupted:
                raise
            except ReproError as error:
                missing.note(spec, error)
                on_result(spec, error)
            else:
                on_result(spec, outcome)
