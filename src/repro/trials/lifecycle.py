"""One trial from its lock to its record: read, load, train, score, record. `runner` and `gangs` hold the locks.

Nothing here loads torch before `prepare`: config and data are known to be good by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from repro.errors import ReproError, TrialFailed
from repro.store import progress
from repro.store.record import Provenance, Record
from repro.store.run_folder import CHECKPOINT, tidy_finished, written_files
from repro.trials.run import (
    Plain,
    build_method,
    build_task,
    check_metrics,
    check_selection,
    load_examples,
    pick_device,
    without_places,
)
from repro.trials.spec import TrialSpec

OnStep = Callable[[int, int], object] | None


class Attempt:
    """A trial that is being run in this process.

    Args:
        ranks: the processes that make this attempt together; the first of them writes.
    """

    def __init__(self, spec: TrialSpec, ranks: Any = None) -> None:
        self._ranks, self._writes = ranks, ranks is None or ranks.first
        self.spec, self.plain, self.key, self.folder, self.store = spec, spec.plain, spec.key, spec.folder, spec.store
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self.task: Any = None
        self.trial: Any = None
        self.record: Record | None = None
        self._tracker: Any = None
        self._console: Any = None
        self._setup_seconds = 0.0

    def read(self) -> None:
        """Task and examples.

        Raises:
            ReproError: a config or data that cannot work.
        """
        if self._ranks is None:
            self._read()
        else:
            self._ranks.in_turn(self._read)

    def _read(self) -> None:
        self.task = build_task(self.plain)
        self._selection = check_selection(self.plain, self.task)
        if self._writes:
            check_metrics(self.task)
        self._examples = load_examples(self.plain, self.task)

    def prepare(self, stop: Any = None, loaded: Any = None, on_step: OnStep = None) -> None:
        """Model, method, tracker, record; afterwards `trial` is ready.

        Args:
            stop: the gang's `StopRequest`.
            loaded: the backbone that a gang shares (`trial.Loaded`).
            on_step: called with (steps done, steps in all) after every step.
        """
        from repro.config.schema import TrackerConfig
        from repro.tracking import make_tracker
        from repro.training.checkpoint import Checkpoints
        from repro.training.progress import ProgressReporter
        from repro.trials.prepared import Trial  # torch and transformers load here

        ranks, method = self._ranks, build_method(self.plain)
        device = pick_device(self.plain["trainer"]["device"]) if ranks is None else ranks.device
        self.trial = Trial.prepare(
            self.plain, self.task, self._examples, self._selection, device, method, loaded, ranks
        )
        tracker = TrackerConfig(**self.plain["tracker"]) if self._writes else TrackerConfig()
        self._tracker = make_tracker(tracker, self.key, self.plain, self.folder)
        self.record = Record(
            self.key,
            "done",
            without_places(self.plain),
            self.plain["seed"],
            choices=dict(self.spec.choices),
            parameters=self.trial.parameters,
        )
        self.checkpoints = Checkpoints(self.folder / CHECKPOINT)
        name, steps = self.spec.name, self.trial.steps
        file = progress.ProgressFile(self.folder, steps, name=name) if self._writes else None
        self._console = ProgressReporter(name, steps, self._tracker, file, stop, on_step, ranks)
        self._setup_seconds = time.monotonic() - self._clock

    def alone(self, on_step: OnStep = None) -> Record:
        """Load, train, score and record in a process of its own.

        Raises:
            TrialFailed: the record says why.
            Interrupted: after a checkpoint; there is no record.
        """
        self.prepare(on_step=on_step)
        assert self.record is not None
        finished: Record | None = None
        try:
            with self._console:
                self.trial.train(self.record, self.checkpoints, self._console)
                self.trial.report(self.record, self.folder, self._console)
            if self._writes:
                self.record.files = written_files(self.folder)
            finished = self.record
        except TrialFailed as error:
            finished = self._failed(error)
            raise
        finally:
            self._put(finished)
        if self._writes:
            tidy_finished(self.folder)
        return self.record

    def member(self) -> Any:
        """The prepared trial as a gang trains it."""
        return self.trial.member(self.checkpoints, self._console)

    def left(self, member: Any) -> Record:
        """The member has left its gang: score the chosen checkpoint, or say why it failed; record either.

        Raises:
            TrialFailed: the record says why.
            Interrupted: while it was scored; there is no record, and the checkpoint stays.
        """
        assert self.record is not None
        record, finished, failure = self.record, None, member.failure
        try:
            if failure is None:
                self.trial.note(record, member.progress)
                failure = self._report()
            else:
                self.trial.note_checkpoint(record, self.checkpoints)
            if failure is None:
                record.files = written_files(self.folder)
            finished = record if failure is None else self._failed(failure)
        finally:
            if member.joint_size > 1:
                record.provenance["joint_trials"] = member.joint_size
                record.cost["seconds"] = self._setup_seconds + sum(
                    record.cost.get(name, 0.0) for name in ("train_seconds", "evaluation_seconds")
                )
            self._put(finished)
        if failure is not None:
            raise failure
        tidy_finished(self.folder)
        return record

    def abandon(self) -> None:
        """The process ends before the trial does: no record; what it continues from is on disk, and how far it is."""
        if self._console is not None:
            self._console.file.close()
        if self._tracker is not None:
            self._tracker.finish(None)

    def _report(self) -> TrialFailed | None:
        """Score the chosen checkpoint; why that failed. In a gang an error of one member's scoring is its own."""
        try:
            self.trial.report(self.record, self.folder, self._console)
        except TrialFailed as error:
            return error
        except (ReproError, MemoryError):
            raise
        except Exception as error:
            failure = TrialFailed(f"its scoring ended with {type(error).__name__}: {error}.")
            failure.__cause__ = error
            return failure
        return None

    def _failed(self, error: TrialFailed) -> Record:
        assert self.record is not None
        self.record.status, self.record.reason = "failed", str(error)
        return self.record

    def _put(self, finished: Record | None) -> None:
        """Store the record, if there is one, and end the tracking."""
        try:
            if finished is not None and self._writes:
                finished.deviations = deviations(self.plain, self.task, self.trial.deviations)
                finished.provenance |= _circumstances(self.trial, self.task, list(self.spec.command), self._started)
                if self._ranks is not None:
                    finished.provenance["processes"] = self._ranks.count
                seconds = finished.cost.get("seconds", time.monotonic() - self._clock)
                finished.cost["seconds"] = round(seconds, 3)
                self.store.put(finished)
                progress.remove(self.folder)
        finally:
            self._tracker.finish(finished)


SHIFTED_BART = (
    "real tokens of BART start at position method.length; in Li and Liang's code they start at 0 in both stacks, where "
    "GPT-2's are shifted (method.shift_positions=false does as the code)"
)


def deviations(plain: Plain, task: Any, found: Sequence[str]) -> list[str]:
    """Everything in which this trial is known to differ from the paper, each said once."""
    said = [*plain["method"]["deviations"], *plain["recipe"]["deviations"], *task.deviations, *found]
    if plain["model"]["family"] == "bart" and plain["method"].get("shift_positions"):
        said.append(SHIFTED_BART)
    if plain["recipe"]["name"] is None:
        said.append("no recipe for this method, model and task: hyperparameters are our defaults or the command line's")
    if plain["model"]["paper_name"] is None:
        said.append(f"no paper used the model {plain['model']['name']}")
    return list(dict.fromkeys(said))


def _circumstances(trial: Any, task: Any, command: list[str], started: datetime) -> Provenance:
    from repro.trials.provenance import provenance

    return provenance(command, trial.device.type) | {
        "data": task.fingerprint(),
        "weights": trial.weights,
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
