"""The whole training loop: one trial, or several jointly over one frozen model in one process.

A trial in joint training has all that it would have alone: data order, optimiser state, schedule, clipping,
evaluations, selection, checkpoints, progress. It joins when there is room, steps with the others, is evaluated when it
is due, and leaves when it has ended or failed. Its results depend on the others only through the order of summation.
Each trial resumes from its own folder, so joint training that was killed may continue with other trials, or with each
of them alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from repro.errors import Interrupted, ReproError, TrialFailed, unforeseen
from repro.training.batching import WHOLE
from repro.training.checkpoint import CheckpointStore, Progress
from repro.training.cuda_graphs import RecordingRunner
from repro.training.step import TrialBatch
from repro.training.trainable import Reporter, TrainableTrial, due, ended, evaluate, resume


@dataclass(eq=False)
class ActiveTrial:
    """A trial in training."""

    trial: TrainableTrial
    checkpoints: CheckpointStore
    reporter: Reporter
    progress: Progress = field(init=False)
    failure: TrialFailed | None = None
    """Why it left before its end."""
    joint_size: int = 1
    """The most trials that made a step together with it, itself included."""
    saved_at: float = field(init=False)
    _saved: tuple[int, int] | None = field(init=False, default=None)
    """Step and evaluated step of the last checkpoint that was written here."""

    def __post_init__(self) -> None:
        self.progress = resume(self.trial, self.checkpoints)
        self.saved_at = time.monotonic()

    @property
    def tokens(self) -> float:
        """Approximate number of tokens in one of its steps."""
        if self.progress.step:
            return self.progress.tokens / self.progress.step
        return float(sum(len(item.ids) for items in self.trial.examples(0) for item in items))

    @property
    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint is too old."""
        return time.monotonic() - self.saved_at > self.trial.checkpoint_seconds

    def save_if_changed(self) -> None:
        """Write a checkpoint unless the last one is of the present state."""
        if self._saved != (self.progress.step, self.progress.evaluated_step):
            self.save()

    def save(self) -> None:
        """Write the checkpoint from which the trial resumes."""
        self.checkpoints.save(self.progress, self.trial.snapshot())
        self._saved = (self.progress.step, self.progress.evaluated_step)
        self.saved_at = time.monotonic()


class TrainingLoop:
    """Trains all its trials to their ends.

    Args:
        next_trial: called before every step for a trial that joins; None: no trial joins now. Called at least once.
        on_end: called with every trial that ended or failed; its tensors are then those of the chosen checkpoint.
    """

    def __init__(
        self,
        next_trial: Callable[[TrainingLoop], ActiveTrial | None],
        on_end: Callable[[ActiveTrial], None],
    ) -> None:
        self.trials: list[ActiveTrial] = []
        self.steps = 0
        """Joint steps made."""
        self.largest = 1
        """The most trials in one step."""
        self._next_trial, self._on_end = next_trial, on_end
        self._batch = TrialBatch(RecordingRunner())

    def train(self) -> None:
        """Train until no trial is left and none joins.

        Raises:
            Interrupted: asked to stop; everything that each trial needs to resume is on disk.
        """
        try:
            self._admit()
            while self.trials:
                self._step()
                self._evaluate_and_save()
                self._remove_ended()
                self._admit()
        except Interrupted:  # possibly in the middle of an evaluation, which is repeated on resuming
            self._save_all()
            raise

    def _admit(self) -> None:
        while (active := self._next_trial(self)) is not None:
            self.trials.append(active)
            self._remove_ended()

    def _step(self) -> None:
        """One update of each trial that has a step to make before its next evaluation."""
        stepping = [t for t in self.trials if t.progress.step < t.trial.steps and not due(t.trial, t.progress)]
        if not stepping:
            return
        failures = self._batch.step([t.trial for t in stepping], [t.progress for t in stepping])
        self.steps, self.largest = self.steps + 1, max(self.largest, len(stepping))
        for active, failure in zip(stepping, failures, strict=True):
            active.failure, active.joint_size = failure, max(active.joint_size, len(stepping))
            if failure is None:
                active.reporter.step(active.progress, active.progress.losses[-1])

    def _evaluate_and_save(self) -> None:
        """Evaluations and checkpoints that are due, and a request to stop."""
        for active in [t for t in self.trials if t.failure is None]:
            if due(active.trial, active.progress):
                self._evaluate(active)
            if active.failure is None and active.trial.group.decide(active.checkpoint_due):
                active.save()
            active.reporter.stop_if_asked(self._save_all)

    def _evaluate(self, active: ActiveTrial) -> None:
        try:
            row = evaluate(active.trial, active.progress, active.checkpoints)
            active.reporter.evaluated(active.progress, row)
        except TrialFailed as error:
            active.failure = error
        except (ReproError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if active.trial.group.part != WHOLE:  # it may be that another process has ended
                raise
            active.failure = unforeseen("evaluation", error)

    def _remove_ended(self) -> None:
        done = [t for t in self.trials if t.failure is not None or ended(t.trial, t.progress)]
        if not done:
            return
        self._batch.release()
        for active in done:
            if active.failure is None:
                active.save()
                if active.trial.keep_best and active.progress.best:
                    active.trial.load(active.checkpoints.load_best(active.progress.best["step"]))
            self._on_end(active)
            self.trials.remove(active)

    def _save_all(self) -> None:
        for active in self.trials:
            if active.failure is None:
                active.save_if_changed()


def train(trials: Sequence[ActiveTrial], on_end: Callable[[ActiveTrial], None]) -> None:
    """Train these trials jointly, all from the first step on."""
    waiting = list(trials)
    TrainingLoop(lambda _: waiting.pop(0) if waiting else None, on_end).train()
