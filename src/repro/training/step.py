"""One update of several trials over one frozen model: batch, forward and backward, clip, update.

The rows of a batch name their trial. Every trial has its own denominator, so its gradient does not depend on the other
trials in the batch; clipping and the optimiser act along the trial axis. Results equal those of each trial alone, up to
the order of summation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from torch import Tensor

from repro.errors import TrialFailed
from repro.training.batching import WHOLE, Share, token_counts
from repro.training.checkpoint import Progress
from repro.training.optimisers import TUNED
from repro.training.passes import PassRunner, PlainRunner, forget_gradients
from repro.training.stacked_state import Stack, stacks
from repro.training.trainable import TrainableTrial


class TrialBatch:
    """The trials that step together; they may change between steps.

    Args:
        runner: computes gradients; None: a `PlainRunner`.
    """

    def __init__(self, runner: PassRunner | None = None) -> None:
        self.runner: PassRunner = runner or PlainRunner()
        self._trials: list[TrainableTrial] = []
        self._stacks: list[Stack] = []

    def step(self, trials: Sequence[TrainableTrial], progresses: Sequence[Progress]) -> list[TrialFailed | None]:
        """One update of every trial that can make one; why the others failed, in order."""
        started = time.monotonic()
        self._stack(trials)
        at = {id(trial): progress.step for trial, progress in zip(trials, progresses, strict=True)}

        # Batch: the examples of this step, in each trial's own data order.
        shares = [trial.share(at[id(trial)]) for trial in trials]

        # Forward and backward. The next batch is made ready while the device computes.
        losses, batches = self.runner.backward(trials, shares)
        if following := _next_shares(trials, progresses):
            self.runner.prepare(trials, following)

        # A trial whose loss or gradient is not finite fails, and is not updated.
        norms = self._gradient_norms()
        failures = [
            _failure(trial, at[id(trial)], loss, norms[id(trial)])
            for trial, loss in zip(trials, losses.tolist(), strict=True)
        ]
        if any(failures):
            forget_gradients([trial for trial, failure in zip(trials, failures, strict=True) if failure])
            self._stack([trial for trial, failure in zip(trials, failures, strict=True) if not failure])
            self._gradient_norms()

        # Clip and update: trials with tensors of equal shapes as one.
        for stack in self._stacks:
            stack.clip()
            stack.update([at[id(trial)] for trial in stack.trials])
        forget_gradients(trials)

        # Count: each trial's own tokens, and its share of the time.
        tokens, positions = token_counts(batches, len(trials))
        seconds = time.monotonic() - started
        for index, (progress, failure) in enumerate(zip(progresses, failures, strict=True)):
            if failure is None:
                progress.step += 1
                progress.losses.append(float(losses[index]))
                progress.tokens += tokens[index]
                progress.padded_tokens += positions[index]
                progress.train_seconds += seconds * tokens[index] / max(1, sum(tokens))
        return failures

    def release(self) -> None:
        """Give every trial its own memory back."""
        for stack in self._stacks:
            stack.release()
        self._trials, self._stacks = [], []
        self.runner.release()

    def _stack(self, trials: Sequence[TrainableTrial]) -> None:
        """Stack the tensors of exactly these trials."""
        if [id(trial) for trial in trials] != [id(trial) for trial in self._trials]:
            self.release()
            self._trials, self._stacks = list(trials), stacks(trials)

    def _gradient_norms(self) -> dict[int, float]:
        """{id of a trial: the norm of its gradients}"""
        gathered = [(stack.trials, stack.gather()) for stack in self._stacks]
        return {id(trial): norm for trials, norms in gathered for trial, norm in _pairs(trials, norms)}


def _pairs(trials: Sequence[TrainableTrial], norms: Tensor) -> list[tuple[TrainableTrial, float]]:
    return list(zip(trials, norms.tolist(), strict=True))


def _next_shares(trials: Sequence[TrainableTrial], progresses: Sequence[Progress]) -> list[Share]:
    """The examples of the step after this one; empty where a trial has none."""
    steps = [(trial, progress.step + 1) for trial, progress in zip(trials, progresses, strict=True)]
    return [] if any(step >= trial.steps for trial, step in steps) else [trial.share(step) for trial, step in steps]


def _failure(trial: TrainableTrial, step: int, loss: float, norm: float) -> TrialFailed | None:
    for what, value in (("loss", loss), ("gradient", norm)):  # a finite loss may have an infinite gradient
        if not math.isfinite(value):
            if (name := _broken_weight(trial)) is not None:
                why = f"the frozen weight {name} of the model is NaN or infinite in places. Load whole weights."
            else:
                why = f"lower trainer.optimiser.learning_rate (now {float(trial.rate(step)[0]):g}) or use "
                why += "trainer.dtype=float32. A checkpoint written before is kept."
            return TrialFailed(f"the {what} became {value} at step {step + 1}: {why}")
    return None


def _broken_weight(trial: TrainableTrial) -> str | None:
    """A weight that was loaded with numbers that are none; those that are trained may have diverged."""
    if trial.group.part != WHOLE:  # this process has some rows only
        return None
    weights = trial.adapter.backbone.whole.named_parameters()
    frozen = (name for name, weight in weights if f"{TUNED}{name}" not in trial.tuned and not weight.isfinite().all())
    return next(frozen, None)
