"""One trial in this process: read, prepare, train, evaluate, record. `run` and the joint executor hold the locks.

Nothing here loads torch before `prepare`: config and data are known to be good by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from repro.config.schema import TrackerConfig
from repro.errors import ReproError, TrialFailed, unforeseen
from repro.store import progress
from repro.store.record import DataFacts, Record
from repro.store.run_folder import CHECKPOINT, tidy_finished, written_files
from repro.tasks.base import Example, Task
from repro.tracking import NullTracker, Tracker
from repro.trials.build import build_method, build_task
from repro.trials.checks import (
    check_metrics,
    check_selection,
    load_examples,
    origin_of,
    refuse_other_origin,
    try_metrics,
)
from repro.trials.device import pick_device
from repro.trials.recording import Clock, Scores, Setup, Trained, record_of
from repro.trials.spec import TrialSpec

if TYPE_CHECKING:
    from repro.models.loading import Loaded
    from repro.training.distributed.process_group import ProcessGroup
    from repro.training.loop import ActiveTrial
    from repro.training.progress import ProgressReporter, StopRequest
    from repro.trials.prepared import Trial

OnStep = Callable[[int, int], object] | None


class Attempt:
    """A trial that is being run in this process.

    Args:
        group: the processes that make this attempt together; the first of them writes.
    """

    def __init__(self, spec: TrialSpec, group: ProcessGroup | None = None) -> None:
        self.spec, self.config, self.folder = spec, spec.config, spec.folder
        self._group, self._writes = group, group is None or group.first
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._setup_seconds = 0.0
        self.task: Task
        """Set by `read`."""
        self._examples: Mapping[str, Sequence[Example]] = {}
        self._selection = ""
        self.trial: Trial | None = None
        self._tracker: Tracker = NullTracker()
        self._console: ProgressReporter | None = None

    def read(self) -> None:
        """Task and examples.

        Raises:
            ReproError: a config or data that cannot work.
        """
        if self._group is None:
            self._read()
        else:
            self._group.in_turn(self._read)

    def _read(self) -> None:
        self.task = build_task(self.config)
        self._selection = check_selection(self.config, self.task)
        if self._writes:
            check_metrics(self.task)
        self._examples = load_examples(self.config, self.task)
        if self._writes:
            for split in dict.fromkeys((self.config.trainer.selection.split, self.config.task.report_split)):
                try_metrics(self.task, split, self._examples[split])
        refuse_other_origin(self.spec, origin_of(self.task))

    def prepare(self, stop: StopRequest | None = None, loaded: Loaded | None = None, on_step: OnStep = None) -> None:
        """Model, method and tracker; afterwards `trial` is ready.

        Args:
            stop: of the trials that train jointly.
            loaded: the backbone that they share.
            on_step: called with (steps done, steps in all) after every step.
        """
        from repro.tracking import make_tracker
        from repro.training.checkpoint import Checkpoints
        from repro.training.progress import ProgressReporter
        from repro.trials.prepared import Trial  # torch and transformers load here

        config, group, method = self.config, self._group, build_method(self.config)
        device = pick_device(config.trainer.device) if group is None else group.device
        self.trial = Trial.prepare(config, self.task, self._examples, self._selection, device, method, loaded, group)
        origin = origin_of(self.task, self.trial.weights["sha256"])
        if group is None:
            refuse_other_origin(self.spec, origin)
        else:
            group.of_first(lambda: refuse_other_origin(self.spec, origin))
        settings = config.tracker if self._writes else TrackerConfig()
        self._tracker = make_tracker(settings, self.spec.key, config.to_dict(), self.folder)
        self._checkpoints = Checkpoints(self.folder / CHECKPOINT)
        name, steps = self.spec.name, self.trial.steps
        file = progress.ProgressFile(self.folder, steps, name=name) if self._writes else None
        self._console = ProgressReporter(name, steps, self._tracker, file, stop, on_step, group)
        self._setup_seconds = time.monotonic() - self._clock

    @property
    def _ready(self) -> tuple[Trial, ProgressReporter]:
        assert self.trial is not None and self._console is not None, "prepare comes first"
        return self.trial, self._console

    def alone(self, on_step: OnStep = None) -> Record:
        """Load, train, score and record in a process of its own.

        Raises:
            TrialFailed: the record says why.
            Interrupted: after a checkpoint; there is no record.
        """
        from repro.training.loop import train

        self.prepare(on_step=on_step)
        with self._ready[1]:
            try:
                member = self.member()
                train([member], lambda _: None)
            except BaseException:
                self._tracker.finish(None)
                raise
            return self.left(member)

    def member(self) -> ActiveTrial:
        """The prepared trial as the training loop takes it."""
        trial, console = self._ready
        return trial.member(self._checkpoints, console)

    def left(self, member: ActiveTrial) -> Record:
        """It has left training: score the chosen checkpoint, or say why it failed; record either.

        Raises:
            TrialFailed: the record says why.
            Interrupted: while it was scored; there is no record, and the checkpoint stays.
        """
        trial, console = self._ready
        scores, failure = None, member.failure
        try:
            if failure is None:
                trained = trial.trained(member.progress)
                scores = trial.report(self.folder, console)
            else:
                trained = trial.last_known(self._checkpoints)
        except TrialFailed as error:
            failure = error
        except Exception as error:
            if isinstance(error, ReproError | MemoryError) or self._group is not None:
                self._tracker.finish(None)
                raise
            failure = unforeseen("scoring", error)
        except BaseException:
            self._tracker.finish(None)
            raise
        return self._end(trained, scores, failure, member.joint_size)

    def abandon(self) -> None:
        """The process ends before the trial does: no record. Checkpoint and progress stay on disk."""
        if self._console is not None and self._console.file is not None:
            self._console.file.close()
        self._tracker.finish(None)

    def _end(
        self, trained: Trained, scores: Scores | None, failure: TrialFailed | None, joint_trials: int = 1
    ) -> Record:
        """Make the record, store it, end the tracking.

        Raises:
            TrialFailed: `failure`.
        """
        record: Record | None = None
        try:
            record = self._record(trained, scores, failure, joint_trials)
            if self._writes:
                self.spec.store.put(record)
                progress.remove(self.folder)
        finally:
            self._tracker.finish(record)
        if failure is not None:
            raise failure
        if self._writes:
            tidy_finished(self.folder)
        return record

    def _record(
        self, trained: Trained, scores: Scores | None, failure: TrialFailed | None, joint_trials: int
    ) -> Record:
        trial, _ = self._ready
        seconds = time.monotonic() - self._clock
        if joint_trials > 1:  # the time of the others does not count
            seconds = self._setup_seconds + trained.cost.get("train_seconds", 0.0)
            seconds += trained.cost.get("evaluation_seconds", 0.0) + (scores.seconds if scores else 0.0)
        setup = Setup(
            parameters=trial.parameters,
            weights=trial.weights,
            data={
                split: DataFacts(rows=facts["rows"], sha256=facts["sha256"])
                for split, facts in self.task.fingerprint().items()
            },
            deviations=[*self.task.deviations, *trial.deviations],
            device=trial.device.type,
            processes=1 if self._group is None else self._group.count,
            labels=self.task.labels,
        )
        clock = Clock(self._started, seconds, joint_trials)
        files = written_files(self.folder) if failure is None and self._writes else {}
        return record_of(self.spec, setup, trained, scores, clock, None if failure is None else str(failure), files)
