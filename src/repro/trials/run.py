"""One trial to one record. Idempotent: a trial in the store is not run again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config.rules import validate
from repro.errors import TrialFailed
from repro.store.lock import Lock
from repro.store.record import Record
from repro.store.run_folder import finish_tidying, tidy_finished
from repro.trials.checks import refuse_other_data, refuse_other_weights
from repro.trials.lifecycle import Attempt, OnStep
from repro.trials.processes import present
from repro.trials.spec import TrialSpec

if TYPE_CHECKING:
    from repro.training.distributed.process_group import ProcessGroup


@dataclass(frozen=True)
class Outcome:
    """What `run` gives back: the record, and whether it was stored before. No record: another process has the trial."""

    record: Record | None
    from_store: bool
    folder: Path


def run(spec: TrialSpec, on_step: OnStep = None) -> Outcome:
    """Make sure that the trial's record is in the store.

    Args:
        on_step: called with (steps done, steps in all) while the trial trains, for whoever shows progress of many.

    Raises:
        ReproError: bad config, data or weights (nothing is written), a failed trial (its record says why), Ctrl-C.
    """
    validate(spec.config)
    if present().count == 1:
        return _run(spec, on_step)
    from repro.trials.distributed import share

    def first(start: Callable[[], ProcessGroup]) -> Outcome:
        return _run(spec, on_step, start)

    def other(group: ProcessGroup) -> None:
        try:
            _attempt(spec, None, group)
        finally:
            tidy(spec.folder)  # on another machine Hydra has made one there

    return share(spec.config.trainer.device, first, other) or Outcome(None, False, spec.folder)


def _attempt(spec: TrialSpec, on_step: OnStep, group: ProcessGroup | None) -> Record:
    attempt = Attempt(spec, group)
    attempt.read()
    return attempt.alone(on_step)


def _run(spec: TrialSpec, on_step: OnStep, start: Callable[[], ProcessGroup | None] = lambda: None) -> Outcome:
    """`run` in the only process, or in the first of several.

    Args:
        start: called when the trial is to be run; gives the processes that run it, where there are several.
    """
    folder, lock = spec.folder, Lock(spec.folder / "lock")
    try:
        record = stored(spec)
        if record:
            finish_tidying(lock, folder)
            return Outcome(record, True, folder)
        waits = spec.config.trainer.if_running == "wait"
        if not lock.acquire(wait=waits, on_wait=lambda owner: _say(spec.key, owner)):
            return Outcome(None, False, folder)
        record = stored(spec)  # the process we waited for may have finished it
        if record:
            tidy_finished(folder)
            return Outcome(record, True, folder)
        return Outcome(_attempt(spec, on_step, start()), False, folder)
    finally:
        lock.release()
        tidy(folder)


def stored(spec: TrialSpec) -> Record | None:
    """The trial's record. A failed one is an error again, unless it is to be run anew.

    Raises:
        TrialFailed: the record says that the trial failed.
    """
    record = spec.store.get(spec.key)
    if record is None or (record.status == "failed" and spec.config.rerun):
        return None
    if record.status == "failed":
        raise TrialFailed(f"{spec.name} failed before ({record.reason}) To run it again add rerun=true.")
    refuse_other_data(record, spec.config)
    refuse_other_weights(record, spec.config)
    return record


def _say(key: str, owner: object) -> None:
    print(f"trial {key} is being run by {owner}: waiting for it (trainer.if_running=skip steps aside)", file=sys.stderr)


def tidy(folder: Path) -> None:
    """A trial that wrote nothing leaves no folder behind (Hydra makes one before anything of ours runs)."""
    for empty in (folder, folder.parent):
        with contextlib.suppress(OSError):  # another trial's file came in between, or it is a mount point
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
