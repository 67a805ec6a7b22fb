"""One protocol for running trials here, in worker processes, or as jobs of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from repro.errors import ModelError, ReproError
from repro.trials.run import Outcome
from repro.trials.spec import TrialSpec

Result = Outcome | ReproError
"""The outcome of a trial, or the error that left it without one."""
OnResult = Callable[[TrialSpec, Result], object]


class Executor(Protocol):
    """Runs trials."""

    @property
    def returns_early(self) -> bool:
        """Whether `run` may return before its trials have ended."""
        ...

    def run(self, specs: Sequence[TrialSpec], on_result: OnResult) -> None:
        """Make sure that the records of all trials are in the store.

        A trial that fails stops no other. What is stored already is not run again.

        Args:
            specs: trials with different keys.
            on_result: called for each trial as soon as it has ended. An executor that returns early calls it only for
                the trials that have ended by then.

        Raises:
            Interrupted: asked to stop, after a checkpoint of every trial in training; the same call continues.
        """
        ...


@dataclass
class MissingModels:
    """Backbones that cannot be loaded. Each is tried once: without a network a try takes minutes."""

    _errors: dict[tuple[str, str, str | None], ModelError] = field(default_factory=dict)

    def note(self, spec: TrialSpec, error: ReproError) -> None:
        """Remember the backbone of a trial that ended with this error, if that is why."""
        if isinstance(error, ModelError):
            self._errors.setdefault(_location(spec), error)

    def error(self, spec: TrialSpec) -> ModelError | None:
        """Why the backbone of a trial cannot be loaded."""
        return self._errors.get(_location(spec))


def _location(spec: TrialSpec) -> tuple[str, str, str | None]:
    model = spec.config.model
    return model.source, model.location, model.revision
