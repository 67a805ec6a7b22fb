"""One trial, ready to train: its tensors, data order, schedule and evaluation. `loop.py` trains one or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from repro.methods.base import Method
from repro.models.encoding.batch import Encoded
from repro.models.interface import ModelAdapter
from repro.training.batching import WHOLE, Part, Share, step_seed
from repro.training.checkpoint import CheckpointStore, CurveRow, Progress
from repro.training.optimisers import Optimiser, gradient_norms


class Reporter(Protocol):
    """Receives the progress of a trial, and asks it to stop."""

    def step(self, progress: Progress, loss: float) -> None: ...

    def evaluated(self, progress: Progress, row: CurveRow) -> None: ...

    def stop_if_asked(self, save: Callable[[], None]) -> None:
        """Save and raise `Interrupted` if the user or the scheduler wants the process to end."""
        ...


@dataclass(frozen=True)
class Group:
    """What the processes that train one trial do together; by default there is one process."""

    part: Part = WHOLE
    """The examples of a step that this process takes."""
    sum: Callable[[Tensor], Tensor] = lambda values: values
    """Adds numbers up over the processes."""
    norms: Callable[[Mapping[str, Tensor]], Tensor] = gradient_norms
    """The joint L2 norm of the gradients of some tensors [1]."""
    decide: Callable[[bool], bool] = lambda wish: wish
    """What the first process wants."""


def trained(method: Method, tuned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything that training changes, by name: the method's tensors and tuned backbone weights."""
    return {**{f"method.{name}": tensor for name, tensor in method.parameters.items()}, **tuned}


@dataclass
class TrainableTrial:
    """Everything that training needs of one trial. Its tensors have a trial axis K of 1."""

    adapter: ModelAdapter
    method: Method
    optimiser: Optimiser
    rate: Callable[[int], Tensor]
    """Step to the learning rate [1]."""
    examples: Callable[[int], Sequence[Sequence[Encoded]]]
    """Step to its examples, each with its sequences."""
    evaluate: Callable[[], tuple[float, CurveRow]]
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
    summed: bool = False
    """Neither: the sum over all labels of a step."""
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
    """Its passes may be recorded on a GPU (`training/cuda_graphs.py`)."""
    group: Group = Group()
    origin: Mapping[str, str] = field(default_factory=dict)
    """As `Progress.origin`."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, by name."""
        return trained(self.method, self.tuned)

    def share(self, step: int) -> Share:
        """What this trial brings to a step."""
        return Share(self.examples(step), step_seed(self.seed, step))

    def snapshot(self) -> dict[str, Tensor]:
        """Tensors that resuming needs."""
        return self.tensors | {f"optimiser.{name}": tensor for name, tensor in self.optimiser.state.items()}

    @torch.no_grad()
    def load(self, saved: Mapping[str, Tensor]) -> None:
        """The inverse of `snapshot`, or of the trained tensors alone."""
        with_moments = any(name.startswith("optimiser.") for name in saved)
        for name, tensor in (self.snapshot() if with_moments else self.tensors).items():
            tensor.copy_(saved[name])


def resume(trial: TrainableTrial, checkpoints: CheckpointStore) -> Progress:
    """The last checkpoint's state, or a fresh one."""
    checkpoint = checkpoints.load()
    if checkpoint is None:
        return Progress(origin=dict(trial.origin))
    progress, tensors = checkpoint
    progress.origin = dict(trial.origin)
    trial.load(tensors)
    trial.optimiser.count = progress.step
    return progress


def due(trial: TrainableTrial, progress: Progress) -> bool:
    """Whether the trial has reached a step after which it is evaluated, and has not been yet."""
    at_mark = progress.step % trial.evaluate_every == 0 or progress.step == trial.steps
    return at_mark and progress.step > progress.evaluated_step


def ended(trial: TrainableTrial, progress: Progress) -> bool:
    """Whether all steps are made and the last one is evaluated."""
    return progress.step >= trial.steps and progress.evaluated_step >= trial.steps


def evaluate(trial: TrainableTrial, progress: Progress, checkpoints: CheckpointStore) -> CurveRow:
    """Score the present parameters, keep them if they are the best so far (first on ties), add to the curve."""
    started = time.monotonic()
    trial.adapter.backbone.model.train(False)
    value, values = trial.evaluate()
    epoch = round(progress.step / trial.steps_per_epoch, 4)
    row: CurveRow = {
        "step": progress.step,
        "epoch": epoch,
        "train_loss": sum(progress.losses) / len(progress.losses) if progress.losses else None,
        "learning_rate": float(trial.rate(max(progress.step - 1, 0))[0]),
        **values,
    }
    if trial.keep_best and math.isfinite(value) and (progress.best is None or value > progress.best["value"]):
        checkpoints.save_best(progress.step, trial.tensors)
        progress.best = {"step": progress.step, "epoch": epoch, "value": value}
    progress.curve.append(row)
    progress.losses = []
    progress.evaluated_step = progress.step
    progress.evaluation_seconds += time.monotonic() - started
    return row
