"""Many trials at once: those over one backbone train together, the others one after another; each gets its record.

A trial's record and run folder are what `runner.run` would have made, and so is its key: a gang changes no result
beyond the order of sums. Nothing here loads torch before a trial has to be trained.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from repro.config.joint import joint_key
from repro.config.rules import validate
from repro.errors import Interrupted, ReproError, WeightsUnavailable, print_line
from repro.store.lock import Lock
from repro.store.run_folder import finish_tidying
from repro.trials.lifecycle import Attempt
from repro.trials.run import Outcome, run, stored, tidy
from repro.trials.spec import TrialSpec

Result = Outcome | ReproError
"""What became of a trial: its outcome, or why there is none."""


def run_many(
    specs: Sequence[TrialSpec], done: Callable[[int, Result], None] = lambda index, result: None
) -> list[Result]:
    """Make sure that the records of all trials are in the store; what became of each, in order.

    Args:
        done: told of each trial (its index) as soon as it is known.

    Raises:
        Interrupted: asked to stop; every trial that was training has a checkpoint, and the same call continues them.
    """
    results: dict[int, Result] = {}

    def settle(index: int, result: Result) -> None:
        if index not in results:
            results[index] = result
            done(index, result)

    groups: dict[str, dict[int, TrialSpec]] = {}
    single: list[int] = []
    for index, spec in enumerate(specs):
        found, alike = _known(spec)
        if found is not None:
            settle(index, found)
        elif alike is None:
            single.append(index)
        else:
            groups.setdefault(alike, {})[index] = spec
    for group in groups.values():
        if len(group) > 1:
            single += _together(group, settle)
        else:
            single += group
    for index in sorted(single):
        try:
            settle(index, run(specs[index]))
        except ReproError as error:
            if isinstance(error, Interrupted):
                raise
            settle(index, error)
    return [results[index] for index in range(len(specs))]


def _known(spec: TrialSpec) -> tuple[Result | None, str | None]:
    """A trial's record or why it cannot run, else whom it may train with."""
    try:
        validate(spec.config)
        record = stored(spec)
        if record is not None:
            finish_tidying(Lock(spec.folder / "lock"), spec.folder)
            return Outcome(record, True, spec.folder), None
        return None, joint_key(spec.config)
    except ReproError as error:
        return error, None


def _together(group: Mapping[int, TrialSpec], settle: Callable[[int, Result], None]) -> list[int]:
    """Train these as gangs; the indices of those that are left for later, as another process runs them."""
    from repro.training.progress import StopRequest

    with StopRequest() as stop:
        gang = _Members(group, settle, stop)
        gang.train()
    return gang.later


class _Members:
    """The trials of one backbone: waiting, in training, ended."""

    def __init__(self, group: Mapping[int, TrialSpec], settle: Callable[[int, Result], None], stop: Any) -> None:
        self._waiting = deque(group.items())
        self._settle, self._stop = settle, stop
        self._present: dict[Any, tuple[int, Attempt, Lock]] = {}
        """{member: its index, attempt and lock}"""
        self._loaded: Any = None
        self._admission: Any = None
        self.later: list[int] = []

    def train(self) -> None:
        """Until nobody waits any more.

        Raises:
            Interrupted: after a checkpoint of everybody.
        """
        from repro.training.loop import TrainingLoop

        try:
            TrainingLoop(self._arriving, self._left).train()
        finally:
            for _, attempt, lock in self._present.values():
                with suppress(Exception):
                    attempt.abandon()
                lock.release()
                tidy(attempt.folder)

    def _arriving(self, gang: Any) -> Any:
        """The next trial that is to be trained here, if there is room."""
        while self._waiting and (self._admission is None or self._admission.room(gang)):
            if self._stop.number is not None:  # a signal while trials are being prepared
                raise Interrupted("stopped after a checkpoint; the same command continues it.")
            index, spec = self._waiting.popleft()
            try:
                member = self._begin(index, spec)
            except ReproError as error:
                if isinstance(error, Interrupted):
                    raise
                self._settle(index, error)
                if isinstance(error, WeightsUnavailable):  # none of them can be loaded: each try may take minutes
                    for other, _ in self._waiting:
                        self._settle(other, error)
                    self._waiting.clear()
                continue
            if member is not None:
                return member
        return None

    def _begin(self, index: int, spec: TrialSpec) -> Any:
        """Lock and prepare a trial; None where there is nothing to train here."""
        folder = spec.folder
        lock = Lock(folder / "lock")
        if not lock.acquire(wait=False):
            if spec.config.trainer.if_running == "wait":
                self.later.append(index)
            else:
                self._settle(index, Outcome(None, False, folder))
            return None
        member = None
        try:
            found = stored(spec)  # the process that had the lock may have finished it
            if found is not None:
                self._settle(index, Outcome(found, True, folder))
                return None
            attempt = Attempt(spec)
            attempt.read()
            member = self._prepared(attempt)
            self._present[member] = (index, attempt, lock)
            return member
        finally:
            if member is None:
                lock.release()
                tidy(folder)

    def _prepared(self, attempt: Attempt) -> Any:
        from repro.models.loading import Loaded
        from repro.training.admission import Admission
        from repro.trials.run import pick_device

        plain = attempt.plain
        device = pick_device(plain["trainer"]["device"])
        if self._loaded is None:
            self._loaded = Loaded.of(plain["model"], plain["trainer"], device, attempt.task.format)
            limit = attempt.spec.config.trainer.joint_trials
            self._admission = Admission(None if limit == "auto" else int(limit), device)
        try:
            attempt.prepare(self._stop, self._loaded)
            return attempt.member()
        except BaseException:
            attempt.abandon()
            raise

    def _left(self, member: Any) -> None:
        """A member has ended or failed: its record, then its lock is free."""
        index, attempt, lock = self._present[member]
        try:
            record = attempt.left(member)
            self._settle(index, Outcome(record, False, attempt.folder))
        except ReproError as error:
            if isinstance(error, Interrupted):
                raise
            self._settle(index, error)
        del self._present[member]
        lock.release()
        tidy(attempt.folder)


_ANSWERS: dict[str, Result] = {}
"""By run key: what a launcher has found out already, for the job that asks for it next."""


def answer_later(specs: Sequence[TrialSpec]) -> None:
    """Train these trials now; each job of a multirun then picks its own result up (`answered`)."""
    results = run_many(specs)
    _ANSWERS.update((spec.key, result) for spec, result in zip(specs, results, strict=True))


def answered(spec: TrialSpec) -> Result:
    """A trial's result: what was found out before, else it is run now.

    Raises:
        ReproError: it ended with this.
    """
    result = _ANSWERS.pop(spec.key, None)
    if isinstance(result, ReproError):
        raise result
    return result or run(spec)


def say(result: Result) -> int:
    """Print what became of a trial; its exit code."""
    if isinstance(result, ReproError):
        print_line(f"repro: {result}", sys.stderr)
        return result.exit_code
    if result.record is None:
        print_line(f"trial {result.folder.name}: another process runs it, stepped aside (trainer.if_running=skip)")
        return 0
    from repro.report.pages.trial_summary import trial_summary

    print_line(trial_summary(result.record, result.from_store))
    return 0
