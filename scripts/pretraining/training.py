"""The loop: phases of steps, a loss on held-out documents at fixed steps, checkpoints to go on from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.errors import ConfigError, TrialFailed
from repro.models.encoding.batch import Batch
from repro.training.checkpoint import Checkpoints, Progress
from scripts.pretraining.from_scratch import Pretrained, state_of
from scripts.pretraining.rows import Documents, RowMaker, batches, pool_batches
from scripts.pretraining.settings import Phase, Pretraining

HELD_OUT_SEED = 1_000_003
"""Of the documents that no model is trained on."""
_MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
"""What AdamW and Muon keep for a parameter."""
_OUTER = ("shared", "embed", "wte", "wpe", "relative_attention_bias", "lm_head", "cls.", "pooler")
"""In names of parameters that are no matrix between the embedding and the head."""
Keep = Callable[[str, Progress], None]
"""Called with a checkpoint's name when the weights are to be written under it."""


@dataclass(frozen=True)
class Place:
    """A step of the whole pre-training: its phase, and how many of the phase's steps are done."""

    phase: int
    done: int


def place_of(phases: list[Phase], step: int) -> Place:
    """Where the pre-training stands after `step` updates; a phase's last step still belongs to it."""
    for number, phase in enumerate(phases):
        if step <= phase.steps or number == len(phases) - 1:
            return Place(number, step)
        step -= phase.steps
    raise AssertionError("there are no phases")


def rate(phase: Phase, step: int) -> float:
    """Learning rate of update `step` = 0, 1, ...: up from 0 over the warm-up, level, and down to 0 at the end."""
    up = (step + 1) / (phase.warmup_steps + 1)
    down = (phase.steps - step) / max(1.0, phase.steps * phase.decay_share)
    return phase.learning_rate * min(1.0, up, down)


def kept_after(phase: Phase, done: int) -> list[str]:
    """Names of the checkpoints that are written after `done` of the phase's steps."""
    return [name for percent, name in phase.keep.items() if round(phase.steps * percent / 100) == done]


class Run:
    """One model in training. The same config gives the same numbers on a machine, interrupted or not."""

    def __init__(
        self,
        settings: Pretraining,
        model: Pretrained,
        documents: Documents,
        folder: Path,
        keep: Keep,
        quiet: bool = False,
    ):
        self.settings, self.model, self.keep, self.quiet = settings, model, keep, quiet
        self._documents = documents
        self._checkpoints = Checkpoints(folder)
        self._parameters: dict[str, Tensor] = dict(model.model.named_parameters())
        self._held_out = {phase.objective: self._held_out_batches(phase.objective) for phase in settings.phases}
        self.progress = Progress()
        self._optimisers = self._new_optimisers()

    def _new_optimisers(self) -> list[torch.optim.Optimizer]:
        """AdamW, without decay on vectors; under `muon`, Muon for the matrices between embedding and head.

        Muon's updates are scaled to the size of AdamW's, so that both take one learning rate.
        """
        s = self.settings
        inner = [p for name, p in self._parameters.items() if s.optimiser == "muon" and _is_inner(name, p)]
        others = [p for p in self._parameters.values() if all(p is not one for one in inner)]
        groups = [
            {"params": [p for p in others if p.dim() > 1], "weight_decay": s.weight_decay},
            {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0},
        ]
        found: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=0.0, betas=(s.beta1, s.beta2), fused=True)]
        if inner:
            if not hasattr(torch.optim, "Muon"):
                raise ConfigError(f"optimiser=muon needs torch 2.9 or later, this is {torch.__version__}: set adamw.")
            found.append(torch.optim.Muon(inner, lr=0.0, weight_decay=s.weight_decay, adjust_lr_fn="match_rms_adamw"))
        return found

    def _maker(self, objective: str) -> RowMaker:
        return RowMaker(objective, self.model.tokenizer, self.settings.context)

    def _held_out_batches(self, objective: str) -> list[Batch]:
        """Documents of another seed with noise that stays the same."""
        stream = self._documents(HELD_OUT_SEED)
        texts = [next(stream) for _ in range(self.settings.held_out_documents)]
        return pool_batches(self._maker(objective), texts, HELD_OUT_SEED, 0, self.settings.batch_tokens)

    @property
    def steps(self) -> int:
        """Updates of all phases."""
        return sum(phase.steps for phase in self.settings.phases)

    def train(self, until: int | None = None) -> Progress:
        """Train on from the last checkpoint, or from the start, to the end or to step `until`."""
        self._resume()
        last, first = self.steps if until is None else min(until, self.steps), 0
        for number, phase in enumerate(self.settings.phases):
            done = self.progress.step - first
            if 0 <= done < phase.steps and self.progress.step < last:
                self._train_phase(number, phase, done, last - first)
            first += phase.steps
        return self.progress

    def _train_phase(self, number: int, phase: Phase, done: int, last: int) -> None:
        if done == 0:
            self._evaluate(phase)
            self._keep(phase, 0)
        stream = self._stream(number, phase, done)
        began = time.perf_counter()
        for step in range(done, min(phase.steps, last)):
            batch = next(stream)
            self._update(batch, rate(phase, step), phase)
            end = step + 1 == phase.steps
            self.progress.train_seconds += time.perf_counter() - began
            if end or self.progress.step % self.settings.evaluate_every == 0:
                self._evaluate(phase)
            self._keep(phase, step + 1)
            if end or self.progress.step % self.settings.checkpoint_every == 0:
                self._save()
            began = time.perf_counter()

    def _stream(self, number: int, phase: Phase, done: int) -> Iterator[Batch]:
        """The phase's batches, those already trained on skipped."""
        seed = self.settings.seed * 100 + number
        stream = batches(
            self._maker(phase.objective),
            self._documents,
            seed,
            self.settings.pool,
            self.settings.batch_tokens,
            phase.strips,
        )
        for _ in range(done):
            next(stream)
        return stream

    def _loss(self, batch: Batch) -> Tensor:
        """Mean over the batch's labels, in nats."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.autocast):
            row = self.model.losses(batch)
        return row.total.sum() / row.count.sum()

    def _update(self, batch: Batch, learning_rate: float, phase: Phase) -> None:
        self.model.model.train()
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
        loss = self._loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), self.settings.clip)
        for optimiser in self._optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        value = float(loss.detach())
        if value != value:
            raise TrialFailed(
                f"{self.settings.model}: the loss is NaN at step {self.progress.step + 1} ({phase.objective}). Lower "
                "phases.learning_rate."
            )
        self.progress.step += 1
        self.progress.losses.append(value)
        self.progress.tokens += batch.tokens
        self.progress.padded_tokens += batch.padded_tokens

    @torch.no_grad()
    def held_out_loss(self, objective: str) -> float:
        """Mean over the labels of the held-out documents, in nats; BERT's second loss is left out."""
        self.model.model.eval()
        total = count = 0.0
        for batch in self._held_out[objective]:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.autocast):
                row = self.model.losses(_without_second_loss(batch))
            total, count = total + float(row.total.sum()), count + int(row.count.sum())
        return total / count

    def _evaluate(self, phase: Phase) -> None:
        began = time.perf_counter()
        recent = self.progress.losses
        point = {
            "step": self.progress.step,
            "objective": phase.objective,
            "tokens": self.progress.tokens,
            "seconds": round(self.progress.train_seconds, 1),
            "training_loss": sum(recent) / len(recent) if recent else None,
            "held_out_loss": self.held_out_loss(phase.objective),
        }
        self.progress.losses = []
        self.progress.curve.append(point)
        self.progress.evaluation_seconds += time.perf_counter() - began
        if not self.quiet:
            print(" ".join(f"{key}={_short(value)}" for key, value in point.items()), flush=True)

    def _keep(self, phase: Phase, done: int) -> None:
        for name in kept_after(phase, done):
            if self.progress.curve[-1]["step"] != self.progress.step:
                self._evaluate(phase)
            self.model.model.eval()
            self.keep(name, self.progress)

    def _save(self) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in state_of(self.model.model).items()}
        names = {parameter: name for name, parameter in self._parameters.items()}
        for optimiser in self._optimisers:
            for parameter, state in optimiser.state.items():
                tensors |= {f"{key}.{names[parameter]}": value for key, value in state.items()}
        self._checkpoints.save(self.progress, tensors)

    def _resume(self) -> None:
        found = self._checkpoints.load()
        if found is None:
            return
        self.progress, tensors = found
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[f"model.{name}"])
        names = {parameter: name for name, parameter in self._parameters.items()}
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    if moments := _moments(tensors, names[parameter]):
                        optimiser.state[parameter] = moments


def _is_inner(name: str, parameter: Tensor) -> bool:
    """Whether Muon takes a parameter: a matrix whose two sides are both hidden."""
    return parameter.dim() == 2 and not any(outer in name for outer in _OUTER)


def _moments(tensors: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    return {key: tensors[f"{key}.{name}"] for key in _MOMENTS if f"{key}.{name}" in tensors}


def _without_second_loss(batch: Batch) -> Batch:
    return replace(batch, labels=None)


def _short(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) else value
