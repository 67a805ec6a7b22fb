"""Joint training: trials over one frozen backbone share its forward pass; each gets its own record.

Records, run folders and keys are those of `repro.trials.run.run`: joint training changes only the order of sums. Torch
is not loaded before a trial has to be trained.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from repro.config.joint import joint_key
from repro.config.rules import validate
from repro.errors import Interrupted, ReproError
from repro.store.lock import Lock
from repro.store.run_folder import finish_tidying
from repro.sweeps.executors.base import MissingModels, OnResult
from repro.sweeps.executors.serial import Serial
from repro.trials.lifecycle import Attempt
from repro.trials.run import Outcome, stored, tidy
from repro.trials.spec import TrialSpec

if TYPE_CHECKING:
    from repro.models.loading import Loaded
    from repro.training.admission import Admission
    from repro.training.loop import ActiveTrial, TrainingLoop
    from repro.training.progress import StopRequest


class Joint:
    """Trains trials jointly where they can (`repro.config.joint`), the others one after another."""

    returns_early = False

    def run(self, specs: Sequence[TrialSpec], on_result: OnResult) -> None:
        """See `Executor.run`."""
        groups: dict[str, list[TrialSpec]] = {}
        alone: list[TrialSpec] = []
        for spec in specs:
            try:
                validate(spec.config)
                record = stored(spec)
            except ReproError as error:
                on_result(spec, error)
                continue
            if record is not None:
                finish_tidying(Lock(spec.folder / "lock"), spec.folder)
                on_result(spec, Outcome(record, True, spec.folder))
            elif (key := joint_key(spec.config)) is None:
                alone.append(spec)
            else:
                groups.setdefault(key, []).append(spec)
        for group in groups.values():
            alone += _train_jointly(group, on_result) if len(group) > 1 else group
        order = {spec.key: position for position, spec in enumerate(specs)}
        Serial().run(sorted(alone, key=lambda spec: order[spec.key]), on_result)


def _train_jointly(group: Sequence[TrialSpec], on_result: OnResult) -> list[TrialSpec]:
    """Train the trials of one backbone; those that another process runs are left for later, and returned."""
    from repro.training.progress import StopRequest

    with StopRequest() as stop:
        trials = _JointTrials(group, on_result, stop)
        trials.train()
    return trials.later


class _JointTrials:
    """The trials of one backbone: waiting, in training, ended."""

    def __init__(self, group: Sequence[TrialSpec], on_result: OnResult, stop: StopRequest) -> None:
        self._waiting, self._on_result, self._stop = deque(group), on_result, stop
        self._training: dict[ActiveTrial, tuple[Attempt, Lock]] = {}
        self._missing = MissingModels()
        self._loaded: Loaded | None = None
        self._admission: Admission | None = None
        self.later: list[TrialSpec] = []

    def train(self) -> None:
        """Train until no trial waits.

        Raises:
            Interrupted: after a checkpoint of every trial in training.
        """
        from repro.training.loop import TrainingLoop

        try:
            TrainingLoop(self._next_trial, self._ended).train()
        finally:
            for attempt, lock in self._training.values():
                with suppress(Exception):
                    attempt.abandon()
                lock.release()
                tidy(attempt.folder)

    def _next_trial(self, loop: TrainingLoop) -> ActiveTrial | None:
        """The next trial to be trained here, if there is room."""
        while self._waiting and (self._admission is None or self._admission.room(loop)):
            if self._stop.number is not None:  # a signal while trials are being prepared
                raise Interrupted("stopped after a checkpoint; the same command continues it.")
            spec = self._waiting.popleft()
            if (missing := self._missing.error(spec)) is not None:
                self._on_result(spec, missing)
                continue
            try:
                active = self._begin(spec)
            except Interrupted:
                raise
            except ReproError as error:
                self._missing.note(spec, error)
                self._on_result(spec, error)
                continue
            if active is not None:
                return active
        return None

    def _begin(self, spec: TrialSpec) -> ActiveTrial | None:
        """Lock and prepare a trial; None where there is nothing to train here."""
        lock = Lock(spec.folder / "lock")
        if not lock.acquire(wait=False):
            if spec.config.trainer.if_running == "wait":
                self.later.append(spec)
            else:
                self._on_result(spec, Outcome(None, False, spec.folder))
            return None
        active = None
        try:
            record = stored(spec)  # the process that had the lock may have finished it
            if record is not None:
                self._on_result(spec, Outcome(record, True, spec.folder))
                return None
            attempt = Attempt(spec)
            attempt.read()
            active = self._prepared(attempt)
            self._training[active] = (attempt, lock)
            return active
        finally:
            if active is None:
                lock.release()
                tidy(spec.folder)

    def _prepared(self, attempt: Attempt) -> ActiveTrial:
        from repro.models.loading import Loaded, LoadOptions
        from repro.training.admission import Admission
        from repro.trials.device import pick_device

        config = attempt.spec.config
        device = pick_device(config.trainer.device)
        if self._loaded is None:
            options = LoadOptions.of(config.trainer)
            self._loaded = Loaded.of(config.model, options, device, attempt.task.format)
            limit = config.trainer.joint_trials
            self._admission = Admission(None if limit == "auto" else int(limit), device)
        try:
            attempt.prepare(self._stop, self._loaded)
            active: ActiveTrial = attempt.member()
            return active
        except BaseException:
            attempt.abandon()
            raise

    def _ended(self, active: ActiveTrial) -> None:
        """A trial has ended or failed: write its record, then release its lock."""
        attempt, lock = self._training[active]
        try:
            self._on_result(attempt.spec, Outcome(attempt.left(active), False, attempt.folder))
        except Interrupted:
            raise
        except ReproError as error:
            self._on_result(attempt.spec, error)
        del self._training[active]
        lock.release()
        tidy(attempt.folder)
