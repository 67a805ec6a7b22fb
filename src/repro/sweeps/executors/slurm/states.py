"""How a trial is doing: from its record, the files of its run folder, and the queue. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.errors import StoreError
from repro.store import lock, progress
from repro.store.record import Record
from repro.store.store import Store
from repro.sweeps.executors.slurm import failures
from repro.sweeps.executors.slurm.arrays import JobArray, Task, tasks_by_key
from repro.sweeps.executors.slurm.queue import Queue, QueuedTask

STATUSES = ("damaged", "running", "queued", "submitted", "interrupted", "missing", "failed", "collapsed", "done")
"""In the order in which they are listed. `submitted`: the queue does not answer, so it may wait or be lost."""
FINISHED = ("done", "collapsed")


@dataclass(frozen=True)
class State:
    """One trial, now."""

    key: str
    status: str
    job: str | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    left: float | None = None
    """Seconds to its last step."""
    score: str | None = None
    reason: str | None = None
    permanent: bool = False
    """It failed, and would fail again."""

    @property
    def alive(self) -> bool:
        """Whether it runs, waits, or may do so."""
        return self.status in ("running", "queued", "submitted")

    def wanted(self, retry_failed: bool) -> bool:
        """Whether the trial is to be submitted: nothing of it is queued, running, done or damaged.

        Args:
            retry_failed: also what failed and would fail again.
        """
        return self.status in ("missing", "interrupted") or (
            self.status == "failed" and (retry_failed or not self.permanent)
        )


class States:
    """Looks trials up.

    Args:
        results: the folder with `records`, for trials that no array holds.
        runs: the run folders.
        queue: None where it does not answer.
        arrays: what was submitted beside these run folders.
    """

    def __init__(self, results: Path, runs: Path, queue: Queue | None, arrays: Sequence[JobArray] = ()):
        self._runs, self._queue, self._results = runs, queue, results
        self._tasks: Mapping[str, Sequence[Task]] = tasks_by_key(arrays)
        self._places = {trial.key: Path(array.results) for array in arrays for trial in array.trials()}

    def store(self, key: str) -> Store:
        """Where the record of a trial goes."""
        return Store(self._places.get(key, self._results) / "records")

    def of(self, key: str) -> State:
        """The state of a trial."""
        try:
            record = self.store(key).get(key, statistics=False)
        except StoreError as error:
            return State(key, "damaged", reason=str(error))
        task, folder = self._task(key), self._runs / key
        owner = None if record is not None and record.status in FINISHED else lock.holder(folder / "lock")
        tried_again = owner is not None or (task is not None and task.pending)
        if record is not None and not (record.status == "failed" and tried_again):
            return _recorded(record)
        failure, running = failures.read(folder), progress.read(folder)
        job = None if task is None else task.job
        step, steps, loss = (None, None, None) if running is None else (running.step, running.steps, running.loss)
        if owner is not None:
            left = None if running is None else running.seconds_left
            phase = "starting" if running is None else running.phase
            return State(key, "running", job or str(owner), step, steps, loss, left, reason=phase)
        if task is not None and (failure is None or task.pending or failure.job != task.job):
            reason = task.reason if task.pending else f"waits for its turn in job {task.job}"
            return State(key, "queued", job, step, steps, loss, reason=reason)
        if failure is not None:
            return State(key, "failed", failure.job, step, steps, loss, None, None, failure.reason, failure.permanent)
        if key in self._tasks and self._queue is None:
            return State(key, "submitted", None, step, steps, loss, reason="squeue does not answer")
        if running is not None or (folder / "checkpoint" / "state.json").is_file():
            return State(key, "interrupted", None, step, steps, loss, reason="its process is gone")
        return State(key, "missing", reason="its job has ended" if key in self._tasks else None)

    def _task(self, key: str) -> QueuedTask | None:
        """The task of the queue that holds a trial and is not ending, the newest if there are several."""
        entries = [(self._queue or {}).get(task) for task in self._tasks.get(key, ())]
        alive = [entry for entry in entries if entry is not None and not entry.ending]
        return alive[-1] if alive else None


def _recorded(record: Record) -> State:
    """What a record says."""
    last = record.curve[-1] if record.curve else {}
    value = record.selection.get("value")
    score = None if value is None else f"{record.selection['split']} {record.selection['metric']} {value:.2f}"
    steps = int(record.cost["steps"]) if "steps" in record.cost else None
    loss, failed = last.get("train_loss"), record.status == "failed"
    return State(record.key, record.status, None, steps, steps, loss, None, score, record.reason, failed)
