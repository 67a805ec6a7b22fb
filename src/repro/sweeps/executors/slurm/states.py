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
from repro.sweeps.executors.slurm.queue import Task, Tasks

STATUSES = ("running", "queued", "submitted", "interrupted", "missing", "failed", "collapsed", "done")
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
    repeats: bool = False
    """It failed, and the same would happen again."""

    def wanted(self, retry_failed: bool) -> bool:
        """Whether the trial is to be submitted: nothing of it is queued, running or done.

        Args:
            retry_failed: also what failed for a reason that will come again.
        """
        if self.status == "failed":
            return retry_failed or not self.repeats
        return self.status in ("missing", "interrupted")


class States:
    """Looks trials up.

    Args:
        results: the folder with `records`.
        runs: the run folders.
        tasks: the queue, None where it does not answer.
        places: {run key: the tasks that hold it}, as `submission.places` gives it.
    """

    def __init__(self, results: Path, runs: Path, tasks: Tasks | None, places: Mapping[str, Sequence[tuple[str, int]]]):
        self._store, self._runs, self._tasks, self._places = Store(results / "records"), runs, tasks, places

    def of(self, key: str) -> State:
        """The state of a trial."""
        try:
            record = self._store.get(key, statistics=False)
        except StoreError as error:
            return State(key, "failed", reason=str(error), repeats=True)
        task, folder = self._task(key), self._runs / key
        owner = None if record is not None and record.status in FINISHED else lock.holder(folder / "lock")
        tried_again = owner is not None or (task is not None and task.pending)
        if record is not None and not (record.status == "failed" and tried_again):
            return _recorded(record)
        note, said = failures.read(folder), progress.read(folder)
        job = None if task is None else task.job
        step, steps, loss = (None, None, None) if said is None else (said.step, said.steps, said.loss)
        if owner is not None:
            left = None if said is None else said.seconds_left
            phase = "starting" if said is None else said.phase
            return State(key, "running", job or str(owner), step, steps, loss, left, reason=phase)
        if task is not None and (note is None or task.pending or note.job != task.job):
            reason = task.reason if task.pending else f"waits for its turn in job {task.job}"
            return State(key, "queued", job, step, steps, loss, reason=reason)
        if note is not None:
            return State(key, "failed", note.job, step, steps, loss, None, None, note.reason, note.repeats)
        if key in self._places and self._tasks is None:
            return State(key, "submitted", None, step, steps, loss, reason="squeue does not answer")
        if said is not None or (folder / "checkpoint" / "state.json").is_file():
            return State(key, "interrupted", None, step, steps, loss, reason="its process is gone")
        return State(key, "missing", reason="its job has ended" if key in self._places else None)

    def _task(self, key: str) -> Task | None:
        """The task of the queue that holds a trial and is not ending, the newest if there are several."""
        found = [(self._tasks or {}).get(place) for place in self._places.get(key, ())]
        alive = [task for task in found if task is not None and not task.ending]
        return alive[-1] if alive else None


def _recorded(record: Record) -> State:
    """What a record says."""
    last = record.curve[-1] if record.curve else {}
    value = record.selection.get("value")
    score = None if value is None else f"{record.selection['split']} {record.selection['metric']} {value:.2f}"
    steps = int(record.cost["steps"]) if "steps" in record.cost else None
    return State(
        record.key,
        record.status,
        step=steps,
        steps=steps,
        loss=last.get("train_loss"),
        score=score,
        reason=record.reason,
        repeats=record.status == "failed",
    )
