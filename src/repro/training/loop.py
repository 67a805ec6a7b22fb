"""The whole training loop: one trial, or a gang of several over one frozen model in one process.

A member of a gang has all that a run alone has: data order, optimiser state, schedule, clipping, evaluations,
selection, checkpoints, progress. It joins when there is room, steps in company, is evaluated when it is due, and leaves
when it has ended or failed; nothing that it computes depends on the others but the order of sums. What it continues
from is in its own folder, so a gang that was killed may continue with other members, or each of them alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from repro.errors import Interrupted, TrialFailed
from repro.training.checkpoint import Checkpoints, Progress, Saves
from repro.training.step import Company
from repro.training.trainable import Fit, Watcher, due, ended, evaluate, resume


@dataclass(eq=False)
class Member:
    """A trial in training."""

    run: Fit
    checkpoints: Saves
    watcher: Watcher
    progress: Progress = field(init=False)
    failure: TrialFailed | None = None
    """Why it left before its end."""
    company: int = 1
    """The most trials that it stepped together with, itself included."""
    saved_at: float = field(init=False)
    _saved: tuple[int, int] | None = field(init=False, default=None)
    """Step and evaluated step of the last checkpoint that was written here."""

    def __post_init__(self) -> None:
        self.progress = resume(self.run, self.checkpoints)
        self.saved_at = time.monotonic()

    @property
    def tokens(self) -> float:
        """Tokens of one of its steps, about."""
        if self.progress.step:
            return self.progress.tokens / self.progress.step
        return float(sum(len(item.ids) for items in self.run.examples(0) for item in items))

    @property
    def unsaved_for_long(self) -> bool:
        """Whether the next checkpoint is due."""
        return time.monotonic() - self.saved_at > self.run.checkpoint_seconds

    def save_if_changed(self) -> None:
        """Write a checkpoint, if the last one is of an earlier state."""
        if self._saved != (self.progress.step, self.progress.evaluated_step):
            self.save()

    def save(self) -> None:
        """Write the checkpoint that it would continue from."""
        self.checkpoints.save(self.progress, self.run.snapshot())
        self._saved = (self.progress.step, self.progress.evaluated_step)
        self.saved_at = time.monotonic()


class Gang:
    """Trains its members to their ends.

    Args:
        arriving: asked before every step for a trial that joins; None: nobody now. It is asked at least once.
        left: told of every member that ended or failed, with its trained tensors those of the chosen checkpoint.
        alone: a single trial, whose errors are the caller's: none is turned into a failure of a member.
    """

    def __init__(
        self, arriving: Callable[[Gang], Member | None], left: Callable[[Member], None], alone: bool = False
    ) -> None:
        self.members: list[Member] = []
        self.rounds = 0
        """Steps made."""
        self.largest = 1
        """The most trials that made one together."""
        self._arriving, self._left, self._alone = arriving, left, alone
        self._company = Company()

    def train(self) -> None:
        """Until nobody is left and nobody arrives.

        Raises:
            Interrupted: asked to stop; everything that every member needs to continue is on disk.
        """
        try:
            self._welcome()
            while self.members:
                self._round()
                self._welcome()
        except Interrupted:  # also from the middle of an evaluation, which resuming repeats
            self._save_all()
            raise

    def _welcome(self) -> None:
        while (member := self._arriving(self)) is not None:
            self.members.append(member)
            self._part_with_ended()

    def _round(self) -> None:
        """One step of everybody, then what is due: evaluations, checkpoints, leaving."""
        stepping = [m for m in self.members if m.progress.step < m.run.steps and not due(m.run, m.progress)]
        if stepping:
            failures = self._company.step([m.run for m in stepping], [m.progress for m in stepping])
            self.rounds, self.largest = self.rounds + 1, max(self.largest, len(stepping))
            for member, failure in zip(stepping, failures, strict=True):
                member.failure, member.company = failure, max(member.company, len(stepping))
                if failure is None:
                    member.watcher.step(member.progress, member.progress.losses[-1])
        for member in [m for m in self.members if m.failure is None]:
            if due(member.run, member.progress):
                self._evaluate(member)
            if member.failure is None and member.run.decided(member.unsaved_for_long):
                member.save()
            member.watcher.stop_if_asked(self._save_all)
        self._part_with_ended()

    def _evaluate(self, member: Member) -> None:
        try:
            member.watcher.evaluated(member.progress, evaluate(member.run, member.progress, member.checkpoints))
        except Interrupted:
            raise
        except TrialFailed as error:
            member.failure = error
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if self._alone:
                raise
            member.failure = TrialFailed(f"its evaluation ended with {type(error).__name__}: {error}.")
            member.failure.__cause__ = error

    def _part_with_ended(self) -> None:
        done = [m for m in self.members if m.failure is not None or ended(m.run, m.progress)]
        if not done:
            return
        self._company.release()
        for member in done:
            if member.failure is None:
                member.save()
                if member.run.keep_best and member.progress.best:
                    member.run.load(member.checkpoints.load_best(member.progress.best["step"]))
            self._left(member)
            self.members.remove(member)

    def _save_all(self) -> None:
        for member in self.members:
            if member.failure is None:
                member.save_if_changed()


def fit(run: Fit, checkpoints: Checkpoints, watcher: Watcher) -> Progress:
    """Train one trial to the last step; afterwards the trained tensors are those of the chosen checkpoint.

    Raises:
        TrialFailed: a loss or gradient became NaN or infinite; the last checkpoint stays on disk.
        Interrupted: asked to stop; everything needed to continue is on disk.
    """
    member = Member(run, checkpoints, watcher)
    train([member], lambda one: None, alone=True)
    if member.failure is not None:
        raise member.failure
    return member.progress


def train(members: Sequence[Member], left: Callable[[Member], None], alone: bool = False) -> None:
    """Train these trials together, all from the first step on."""
    waiting = list(members)
    Gang(lambda gang: waiting.pop(0) if waiting else None, left, alone).train()


def train_step(run: Fit, progress: Progress) -> float:
    """One update of one trial; returns its loss.

    Raises:
        TrialFailed: the loss or the gradient is no number; nothing was changed.
    """
    [failure] = Company().step([run], [progress])
    if failure is not None:
        raise failure
    return progress.losses[-1]
