"""One trial, ready to train: its tensors, data order, schedule and evaluation. `gang.py` trains one or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from repro.methods.base import Method
from repro.models.encoding.batch import Batch, Encoded
from repro.models.interface import ModelAdapter
from repro.training.batching import WHOLE, Part, Share, step_seed, training_batches
from repro.training.checkpoint import CheckpointStore, Progress
from repro.training.optimisers import Optimiser, gradient_norms


class Reporter(Protocol):
    """Who looks on: a progress bar, a tracker, the signal handler."""

    def step(self, progress: Progress, loss: float) -> None: ...

    def evaluated(self, progress: Progress, row: Mapping[str, Any]) -> None: ...

    def stop_if_asked(self, save: Callable[[], None]) -> None:
        """Save and raise `Interrupted` if the user or the scheduler wants the process to end."""
        ...


def trained(method: Method, tuned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything that training changes, by name: the method's tensors, and the backbone's if it is tuned."""
    return {**{f"method.{name}": tensor for name, tensor in method.parameters.items()}, **tuned}


@dataclass
class TrainableTrial:
    """Everything the loop needs to train one trial. Its tensors have a trial axis K of 1."""

    adapter: ModelAdapter
    method: Method
    optimiser: Optimiser
    rate: Callable[[int], Tensor]
    """Step to the learning rate [1]."""
    examples: Callable[[int], Sequence[Sequence[Encoded]]]
    """Step to its examples, each with its sequences."""
    evaluate: Callable[[], tuple[float, dict[str, Any]]]
    """Score the present parameters: (value to select by, higher is better; values by split)."""
    steps: int
    steps_per_epoch: int
    evaluate_every: int
    seed: int
    """Feeds dropout; data order and initial values have their own streams of the same seed."""
    keep_best: bool
    clip_norm: float | None
    example_sum: bool
    """Sum the loss over a target's tokens and average over examples, instead of averaging over all tokens."""
    pad_id: int
    microbatches: int = 1
    """Passes that a step of this trial alone is cut into."""
    z_loss: float = 0.0
    """c of c x log(Z)^2, added at every target token while training (T5X); 0: none."""
    tuned: Mapping[str, Tensor] = field(default_factory=dict)
    """Backbone weights that are trained, as views [1, ...] of the model's own parameters."""
    sync_gradients: Callable[[], None] = lambda: None
    """Copies the model's gradients to `tuned`."""
    checkpoint_seconds: float = 300.0
    train_mode: bool = False
    """Backbone in train mode (its dropout, or gradient checkpointing, is on)."""

    graphs: bool = True
    """On a GPU its passes may be recorded (`training.graphs`)."""
    part: Part = WHOLE
    """Which examples of a step this process takes, where several train the trial."""
    summed: Callable[[Tensor], Tensor] = lambda values: values
    """Adds numbers up over these processes."""
    norms: Callable[[Mapping[str, Tensor]], Tensor] = gradient_norms
    """The joint L2 norm of the gradients of `tensors` [1]."""
    decided: Callable[[bool], bool] = lambda wish: wish
    """What the first of these processes wants."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, by name."""
        return trained(self.method, self.tuned)

    def share(self, step: int) -> Share:
        """What this trial brings to a step."""
        return Share(self.examples(step), step_seed(self.seed, step))

    def batches(self, step: int) -> list[Batch]:
        """The passes of a step of this trial alone."""
        return training_batches([self.share(step)], self.pad_id, self.microbatches)

    def snapshot(self) -> dict[str, Tensor]:
        """Tensors that resuming needs."""
        return self.tensors | {f"optimiser.{name}": tensor for name, tensor in self.optimiser.state.items()}

    @torch.no_grad()
    def load(self, saved: Mapping[str, Tensor]) -> None:
        """The inverse of `snapshot` (or of the trained tensors alone)."""
        for name, tensor in (
            self.snapshot() if any(n.startswith("optimiser.") for n in saved) else self.tensors
        ).items():
            tensor.copy_(saved[name])


def resume(run: TrainableTrial, checkpoints: CheckpointStore) -> Progress:
    """The last checkpoint's state, or a fresh one."""
    found = checkpoints.load()
    if found is None:
        return Progress()
    progress, tensors = found
    run.load(tensors)
    run.optimiser.count = progress.step
    return progress


def due(run: TrainableTrial, progress: Progress) -> bool:
    """Whether the trial has reached a step after which it is evaluated, and has not been yet."""
    at_mark = progress.step % run.evaluate_every == 0 or progress.step == run.steps
    return at_mark and progress.step > progress.evaluated_step


def ended(run: TrainableTrial, progress: Progress) -> bool:
    """Whether all steps are made and the last one is evaluated."""
    return progress.step >= run.steps and progress.evaluated_step >= run.steps


def evaluate(run: TrainableTrial, progress: Progress, checkpoints: CheckpointStore) -> dict[str, Any]:
    """Score the present parameters, keep them if they are the best so far (first on ties), add to the curve."""
    started = time.monotonic()
    run.adapter.backbone.model.eval()
    value, values = run.evaluate()
    epoch = progress.step / run.steps_per_epoch
    row = {
        "step": progress.step,
        "epoch": round(epoch, 4),
        "train_loss": sum(progress.losses) / len(progress.losses) if progress.losses else None,
        "learning_rate": float(run.rate(max(progress.step - 1, 0))[0]),
        **values,
    }
    if run.keep_best and math.isfinite(value) and (progress.best is None or value > progress.best["value"]):
        checkpoints.save_best(progress.step, run.tensors)
        progress.best = {"step": progress.step, "epoch": row["epoch"], "value": value}
    progress.curve.append(row)
    progress.losses = []
    progress.evaluated_step = progress.step
    progress.evaluation_seconds += time.monotonic() - started
    return row
