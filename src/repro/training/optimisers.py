"""AdamW and Adafactor over tensors with a leading trial axis K: every trial has its own learning rate and clipping.

torch's AdamW knows one learning rate a parameter group, and transformers' Adafactor differs from the one Lester et al.
used in weight decay and factoring (papers/lester2021 section (e) 5), hence our own. Moments are float32 and carry K, so
that one update serves all trials; the numbers of one trial never touch another's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

FACTOR_FROM = 128
"""Adafactor factors the second moments of a matrix whose two sides are at least this (`min_dim_size_to_factor`)."""

SMALLEST_SCALE = 1e-3
"""Adafactor's parameter scaling never multiplies a rate by less (epsilon 2)."""


class Optimiser(Protocol):
    """Updates `tensors` in place from their gradients."""

    tensors: Mapping[str, Tensor]
    state: dict[str, Tensor]
    """Moments by name; with `count`, all that resuming needs."""
    count: int | Tensor
    """Steps done; int64 [K] where trials differ."""

    def step(self, rate: Tensor) -> None:
        """One update with learning rates `rate` [K]; tensors without a gradient stay."""
        ...


class Split(Protocol):
    """Tensors [1, rows, ...] of which this process has some rows only (`training.sharding.Shards`)."""

    def rows(self, name: str) -> int | None:
        """Rows of the whole tensor; None: this process has all of it."""
        ...

    def sum(self, name: str, values: Tensor) -> Tensor:
        """Sums over this process's rows, added up over all processes."""
        ...


TUNED = "backbone."
"""How the names of tuned weights of the backbone begin."""


def rate_of(name: str, rate: Tensor, backbone_share: float) -> Tensor:
    """Learning rates [K] of a tensor: tuned weights of the backbone may have another, under the same schedule.

    P-tuning's few-shot code has two AdamW optimisers, each with a linear schedule: 1e-5 for the backbone, another rate
    for the prompt's encoder.
    """
    return rate * backbone_share if name.startswith(TUNED) else rate


def over(rate: Tensor, like: Tensor) -> Tensor:
    """Per-trial numbers [K] shaped to multiply a tensor [K, ...]."""
    return rate.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def gradient_norms(tensors: Mapping[str, Tensor]) -> Tensor:
    """The joint L2 norm of each trial's gradients [K]."""
    grads = [tensor.grad for tensor in tensors.values() if tensor.grad is not None]
    return torch.stack([grad.detach().flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()


def clip_gradients(tensors: Mapping[str, Tensor], norms: Tensor, limit: float | Tensor) -> None:
    """Scale each trial's gradients, whose norms are `norms` [K], to a norm of at most `limit` (a number, or [K])."""
    scale = (limit / (norms + 1e-6)).clamp(max=1.0)
    for tensor in tensors.values():
        if tensor.grad is not None:
            tensor.grad.mul_(over(scale, tensor.grad))


def clip_by_norm(tensors: Mapping[str, Tensor], limit: float | Tensor | None) -> Tensor:
    """Scale each trial's gradients so that their joint L2 norm is at most `limit`; returns the norms before [K]."""
    norms = gradient_norms(tensors)
    if limit is not None:
        clip_gradients(tensors, norms, limit)
    return norms


def powered(base: float, count: int | Tensor, like: Tensor) -> float | Tensor:
    """1 - base^count, a number or shaped to multiply a tensor [K, ...]."""
    if isinstance(count, int):
        return 1 - base**count
    return over(1 - base ** count.double(), like)


_NUMBERS_OF_A_RUN = ("tensors", "state", "count", "split")


def settings(optimiser: Optimiser) -> tuple[Any, ...]:
    """What two optimisers must have in common to update their tensors as one: the rule and all its settings but the
    learning rate, which is given step by step."""
    own = {name: value for name, value in vars(optimiser).items() if name not in _NUMBERS_OF_A_RUN}
    return type(optimiser).__name__, *sorted(own.items())


def over_stack(optimiser: Any, tensors: Mapping[str, Tensor], state: dict[str, Tensor]) -> Any:
    """An optimiser of the same settings over the stacked tensors and moments of several trials [K, ...]."""
    stacked = copy.copy(optimiser)
    stacked.tensors, stacked.state = tensors, state
    return stacked


class AdamW:
    """Adam with decoupled weight decay (the defaults are transformers': betas 0.9, 0.999, epsilon 1e-8, decay 0)."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        beta1: float,
        beta2: float,
        epsilon: float,
        weight_decay: float,
        backbone_share: float = 1.0,
    ):
        self.backbone_share = backbone_share
        self.tensors, self.beta1, self.beta2, self.epsilon, self.weight_decay = (
            tensors,
            beta1,
            beta2,
            epsilon,
            weight_decay,
        )
        self.count: int | Tensor = 0
        self.state = {f"{m}.{name}": torch.zeros_like(t) for name, t in tensors.items() for m in ("first", "second")}

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """p -= rate x (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon), after p *= 1 - rate x decay."""
        self.count += 1
        for name, tensor in self.tensors.items():
            grad = tensor.grad
            if grad is None:
                continue
            first, second = self.state[f"first.{name}"], self.state[f"second.{name}"]
            first.lerp_(grad, 1 - self.beta1)
            second.mul_(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
            scale1, scale2 = powered(self.beta1, self.count, tensor), powered(self.beta2, self.count, tensor)
            lr = over(rate_of(name, rate, self.backbone_share), tensor)
            if self.weight_decay:
                tensor.mul_(1 - lr * self.weight_decay)
            tensor.sub_(lr * (first / scale1) / ((second / scale2).sqrt_().add_(self.epsilon)))


class Adafactor:
    """Adafactor as T5X runs it for prompt tuning (papers/lester2021 section (a)).

    No momentum, beta2_t = 1 - (t + 1)^-decay_rate with t counted from `step_offset`, updates cut
    to root mean square `clip_threshold`.

    Args:
        factored: auto (matrices with both sides >= 128, so the prompt only from length 128 on), always or never.
        weight_decay_form: `absolute` multiplies by 1 - decay each step; `times_learning_rate` by 1 - rate x decay.
        step_offset: t of the first step; the official runs continued the frozen checkpoint's count (1,100,000).
        parameter_scaling: a tensor's rate is multiplied by its root mean square, at least 1e-3 (off for prompts; T5's
            own fine-tuning has it on, and Lester et al.'s search has both).
        split: which tensors have rows in other processes: means over rows are then means over all of them.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        decay_rate: float,
        clip_threshold: float,
        weight_decay: float,
        weight_decay_form: str,
        factored: str,
        step_offset: int,
        epsilon: float = 1e-30,
        backbone_share: float = 1.0,
        parameter_scaling: bool = False,
        split: Split | None = None,
    ):
        self.split = split
        self.backbone_share, self.parameter_scaling = backbone_share, parameter_scaling
        self.tensors, self.decay_rate, self.clip_threshold, self.epsilon = tensors, decay_rate, clip_threshold, epsilon
        self.weight_decay, self.weight_decay_form = weight_decay, weight_decay_form
        self.factored, self.step_offset = factored, step_offset
        self.count: int | Tensor = 0
        self.state: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            if self._factors(name, tensor):
                self.state[f"row.{name}"] = tensor.new_zeros(tensor.shape[:-1])
                self.state[f"column.{name}"] = tensor.new_zeros((*tensor.shape[:-2], tensor.shape[-1]))
            else:
                self.state[f"second.{name}"] = torch.zeros_like(tensor)

    def _rows(self, name: str) -> int | None:
        return None if self.split is None else self.split.rows(name)

    def _factors(self, name: str, tensor: Tensor) -> bool:
        """Whether one trial's tensor is a matrix that is factored."""
        if self.factored == "never" or tensor.dim() != 3:
            return False
        sides = self._rows(name) or tensor.shape[1], tensor.shape[2]
        return self.factored == "always" or min(sides) >= FACTOR_FROM

    def _mean(self, name: str, values: Tensor, axis: int, keepdim: bool = False) -> Tensor:
        """The mean over the axis of `values` that has a tensor's rows, those of other processes included."""
        rows = self._rows(name)
        if rows is None or self.split is None:
            return values.mean(axis, keepdim=keepdim)
        return self.split.sum(name, values.sum(axis, keepdim=keepdim)) / rows

    def _root_mean_square(self, name: str, tensor: Tensor) -> Tensor:
        """Of each trial's own numbers [K]."""
        if self._rows(name) is None:
            return tensor.flatten(1).square().mean(1).sqrt()
        by_row = tensor.square().sum(tuple(range(2, tensor.dim()))) if tensor.dim() > 2 else tensor.square()
        return (self._mean(name, by_row, 1) / tensor.shape[2:].numel()).sqrt()

    def _scaled(self, name: str, grad: Tensor, share: float | Tensor) -> Tensor:
        """The gradient over the root of its second moment.

        Args:
            share: 1 - beta2, how much of the moment this step's gradient is; a number, or [K].
        """
        square = grad.square() + self.epsilon

        def moved(moment: str, towards: Tensor) -> Tensor:
            kept = self.state[f"{moment}.{name}"]
            if isinstance(share, Tensor):
                return kept.mul_(over(1 - share, kept)).add_(towards * over(share, kept))
            return kept.mul_(1 - share).add_(towards, alpha=share)

        if f"second.{name}" in self.state:
            return grad * moved("second", square).rsqrt()
        row, column = moved("row", square.mean(-1)), moved("column", self._mean(name, square, -2))
        by_row = (row / self._mean(name, row, -1, keepdim=True)).rsqrt()
        return grad * by_row[..., None] * column.rsqrt()[..., None, :]

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """u = g / sqrt(v), u /= max(1, rms(u) / threshold), p = p (1 - decay) - rate u."""
        share: float | Tensor
        if isinstance(self.count, int):
            share = (self.count + self.step_offset + 1) ** -self.decay_rate
        else:
            share = (self.count.double() + (self.step_offset + 1)) ** -self.decay_rate
        self.count += 1
        for name, tensor in self.tensors.items():
            if tensor.grad is None:
                continue
            update = self._scaled(name, tensor.grad, share)
            rms = self._root_mean_square(name, update)
            update = update / over((rms / self.clip_threshold).clamp(min=1.0), update)
            lr = over(rate_of(name, rate, self.backbone_share), tensor)
            if self.parameter_scaling:
                lr = lr * over(self._root_mean_square(name, tensor).clamp(min=SMALLEST_SCALE), tensor)
            decay = self.weight_decay * (lr if self.weight_decay_form == "times_learning_rate" else 1.0)
            tensor.mul_(1 - decay).sub_(lr * update)


def make_optimiser(tensors: Mapping[str, Tensor], config: Mapping[str, Any], split: Split | None = None) -> Optimiser:
    """The optimiser that `trainer.optimiser` names.

    Args:
        split: which tensors have rows in other processes.
    """
    own = config.get("backbone_learning_rate")
    backbone_share = 1.0 if own is None else own / config["learning_rate"]
    if config["name"] == "adamw":
        betas = config["beta1"], config["beta2"]
        return AdamW(tensors, *betas, config["epsilon"], config["weight_decay"], backbone_share)
    return Adafactor(
        tensors,
        decay_rate=config["decay_rate"],
        clip_threshold=config["clip_threshold"],
        weight_decay=config["weight_decay"],
        weight_decay_form=config["weight_decay_form"],
        factored=config["factored"],
        step_offset=config["step_offset"],
        backbone_share=backbone_share,
        parameter_scaling=config.get("parameter_scaling", False),
        split=split,
    )
