"""The whole training loop, for K trials over one frozen model (K is 1 in an ordinary run)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from repro.errors import Interrupted, TrialFailed
from repro.methods.base import Method
from repro.models.base import ModelAdapter
from repro.models.batch import Batch
from repro.training.batching import step_seed
from repro.training.checkpoint import Checkpoints, Progress
from repro.training.optimisers import Optimiser, clip_by_norm
from repro.training.shared_injection import shared


class Watcher(Protocol):
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
class Fit:
    """Everything the loop needs, ready to run."""

    adapter: ModelAdapter
    method: Method
    optimiser: Optimiser
    rate: Callable[[int], Tensor]
    """Step to learning rates [K]."""
    batches: Callable[[int], Sequence[Batch]]
    """Step to its micro-batches."""
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
    z_loss: float = 0.0
    """c of c x log(Z)^2, added at every target token while training (T5X); 0: none."""
    tuned: Mapping[str, Tensor] = field(default_factory=dict)
    """Backbone weights that are trained, as views [1, ...] of the model's own parameters."""
    sync_gradients: Callable[[], None] = lambda: None
    """Copies the model's gradients to `tuned`."""
    checkpoint_seconds: float = 300.0
    train_mode: bool = False
    """Backbone in train mode (its dropout, or gradient checkpointing, is on)."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, by name."""
        return trained(self.method, self.tuned)

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


def fit(run: Fit, checkpoints: Checkpoints, watcher: Watcher) -> Progress:
    """Train to the last step; afterwards the trained tensors are those of the chosen checkpoint.

    Raises:
        TrialFailed: a loss or gradient became NaN or infinite; the last checkpoint stays on disk.
        Interrupted: asked to stop; everything needed to continue is on disk.
    """
    progress = resume(run, checkpoints)
    saved_at = time.monotonic()

    def save() -> None:
        nonlocal saved_at
        checkpoints.save(progress, run.snapshot())
        saved_at = time.monotonic()

    while progress.step < run.steps or progress.evaluated_step < run.steps:
        if progress.step < run.steps and not due(run, progress):
            loss = train_step(run, progress)
            watcher.step(progress, loss)
        if due(run, progress):
            try:
                watcher.evaluated(progress, evaluate(run, progress, checkpoints))
            except Interrupted:  # in the middle of an evaluation, which resuming repeats
                save()
                raise
        if time.monotonic() - saved_at > run.checkpoint_seconds:
            save()
        watcher.stop_if_asked(save)
    save()
    if run.keep_best and progress.best:
        run.load(checkpoints.load_best(progress.best["step"]))
    return progress


def resume(run: Fit, checkpoints: Checkpoints) -> Progress:
    """The last checkpoint's state, or a fresh one."""
    found = checkpoints.load()
    if found is None:
        return Progress()
    progress, tensors = found
    run.load(tensors)
    run.optimiser.count = progress.step
    return progress


def due(run: Fit, progress: Progress) -> bool:
    """Whether the trial has reached a step after which it is evaluated, and has not been yet."""
    at_mark = progress.step % run.evaluate_every == 0 or progress.step == run.steps
    return at_mark and progress.step > progress.evaluated_step


def train_step(run: Fit, progress: Progress) -> float:
    """One update of all trials; returns the mean loss."""
    started = time.monotonic()
    torch.manual_seed(step_seed(run.seed, progress.step))  # all dropout of this step, whatever ran before
    run.adapter.backbone.model.train(run.train_mode)
    batches = run.batches(progress.step)
    rate = run.rate(progress.step)
    losses = backward(run, batches, trials=len(rate))
    run.sync_gradients()
    norms = clip_by_norm(run.tensors, run.clip_norm)
    for what, values in (("loss", losses), ("gradient", norms)):  # a finite loss may have an infinite gradient
        if not bool(torch.isfinite(values).all()):
            raise TrialFailed(
                f"the {what} became {float(values.sum())} at step {progress.step + 1}: lower "
                f"trainer.optimiser.learning_rate (now {float(rate.max()):g}) or use trainer.dtype=float32. "
                "A checkpoint written before is kept."
            )
    run.optimiser.step(rate)
    for tensor in run.tensors.values():
        tensor.grad = None
    progress.step += 1
    progress.tokens += sum(batch.tokens for batch in batches)
    progress.padded_tokens += sum(batch.padded_tokens for batch in batches)
    progress.losses.append(float(losses.mean()))
    progress.train_seconds += time.monotonic() - started
    return progress.losses[-1]


def backward(run: Fit, batches: Sequence[Batch], trials: int) -> Tensor:
    """Gradients of every trial's loss over the whole step (micro-batches together); returns the losses [K].

    Each trial has its own denominator, so that its gradient does not depend on who else is in the batch.
    """
    device = run.adapter.backbone.device
    weights = [torch.ones_like(c) if run.example_sum else c for c in (batch.label_counts() for batch in batches)]
    owners = [batch.rows[:: batch.choices] for batch in batches]
    denominator = torch.zeros(trials, dtype=torch.long)
    for owner, weight in zip(owners, weights, strict=True):
        denominator.index_add_(0, owner, weight)
    losses = torch.zeros(trials, device=device)
    z = {"z_loss": run.z_loss} if run.z_loss else {}
    injection, send_back = shared(run.method.injection(training=True))
    for batch, owner in zip(batches, owners, strict=True):
        rows = run.adapter.losses(batch.to(device), injection, **z)
        total = rows.total.new_zeros(trials).index_add(0, owner.to(device), rows.total)
        share = total / denominator.clamp(min=1).to(device)
        share.sum().backward()
        losses += share.detach()
    send_back()
    return losses


def evaluate(run: Fit, progress: Progress, checkpoints: Checkpoints) -> dict[str, Any]:
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
