"""AdamW and Adafactor over tensors with a leading trial axis K: every trial has its own learning rate and clipping.

torch's AdamW knows one learning rate a parameter group, and transformers' Adafactor differs from the one Lester et al.
used in weight decay and factoring (papers/lester2021 section (e) 5), hence our own. Moments are float32 and carry K, so
that one update serves all trials; the numbers of one trial never touch another's.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import astuple, replace
from typing import Protocol

import torch
from torch import Tensor

from repro.config.schema import OptimiserConfig

FACTOR_FROM = 128
"""Adafactor factors the second moments of a matrix whose two sides are at least this (`min_dim_size_to_factor`)."""

SMALLEST_SCALE = 1e-3
"""Adafactor's parameter scaling never multiplies a rate by less (epsilon 2)."""

SMALLEST_SQUARE = 1e-30
"""Adafactor adds this to squared gradients (epsilon 1)."""

TUNED = "backbone."
"""Prefix of the names of tuned backbone weights."""


class Optimiser(Protocol):
    """Updates `tensors` in place from their gradients."""

    tensors: Mapping[str, Tensor]
    config: OptimiserConfig
    state: dict[str, Tensor]
    """Moments by name; with `count`, all that resuming needs."""
    count: int | Tensor
    """Steps done; int64 [K] where trials differ."""

    def over(self, tensors: Mapping[str, Tensor], state: dict[str, Tensor]) -> Optimiser:
        """An optimiser with the same options over other tensors and moments: those of several trials [K, ...]."""
        ...

    def step(self, rate: Tensor) -> None:
        """One update with learning rates `rate` [K]; tensors without a gradient stay."""
        ...


class Split(Protocol):
    """Tensors [1, rows, ...] of which this process has only some rows (`distributed.sharding.Shards`)."""

    def rows(self, name: str) -> int | None:
        """Rows of the whole tensor; None: this process has all of it."""
        ...

    def sum(self, name: str, values: Tensor) -> Tensor:
        """Sums over this process's rows, added up over all processes."""
        ...


def backbone_share(config: OptimiserConfig) -> float:
    """The learning rate of tuned backbone weights over that of everything else."""
    own_rate = config.backbone_learning_rate
    return 1.0 if own_rate is None else own_rate / config.learning_rate


def rate_of(name: str, rate: Tensor, config: OptimiserConfig) -> Tensor:
    """Learning rates [K] of a tensor: tuned weights of the backbone may have another, under the same schedule.

    P-tuning's few-shot code has two AdamW optimisers, each with a linear schedule: 1e-5 for the backbone, another rate
    for the prompt's encoder.
    """
    return rate * backbone_share(config) if name.startswith(TUNED) else rate


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


def powered(base: float, count: int | Tensor, like: Tensor) -> float | Tensor:
    """1 - base^count, a number or shaped to multiply a tensor [K, ...]."""
    if isinstance(count, int):
        return 1 - base**count
    return over(1 - base ** count.double(), like)


def options(optimiser: Optimiser) -> Hashable:
    """All settings but the learning rate: optimisers with equal options can update their tensors as one."""
    config = optimiser.config
    return astuple(replace(config, learning_rate=0.0, backbone_learning_rate=backbone_share(config)))


class AdamW:
    """Adam with decoupled weight decay (the defaults are those of transformers)."""

    def __init__(
        self, tensors: Mapping[str, Tensor], config: OptimiserConfig, state: dict[str, Tensor] | None = None
    ) -> None:
        self.tensors, self.config = tensors, config
        self.count: int | Tensor = 0
        self.state = {} if state is None else state
        for name, tensor in tensors.items() if state is None else ():
            self.state |= {f"{moment}.{name}": torch.zeros_like(tensor) for moment in ("first", "second")}

    def over(self, tensors: Mapping[str, Tensor], state: dict[str, Tensor]) -> AdamW:
        """As `Optimiser.over`."""
        return AdamW(tensors, self.config, state)

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """p -= rate x (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon), after p *= 1 - rate x decay."""
        config = self.config
        self.count += 1
        for name, tensor in self.tensors.items():
            grad = tensor.grad
            if grad is None:
                continue
            first, second = self.state[f"first.{name}"], self.state[f"second.{name}"]
            first.lerp_(grad, 1 - config.beta1)
            second.mul_(config.beta2).addcmul_(grad, grad, value=1 - config.beta2)
            scale1, scale2 = powered(config.beta1, self.count, tensor), powered(config.beta2, self.count, tensor)
            lr = over(rate_of(name, rate, config), tensor)
            if config.weight_decay:
                tensor.mul_(1 - lr * config.weight_decay)
            tensor.sub_(lr * (first / scale1) / ((second / scale2).sqrt_().add_(config.epsilon)))


class Adafactor:
    """Adafactor as T5X runs it for prompt tuning (papers/lester2021 section (a)).

    No momentum, beta2_t = 1 - (t + 1)^-decay_rate with t counted from `step_offset`, updates cut to root mean square
    `clip_threshold`.

    Args:
        split: which tensors have rows in other processes: means over rows are then means over all of them.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        config: OptimiserConfig,
        split: Split | None = None,
        state: dict[str, Tensor] | None = None,
    ) -> None:
        self.tensors, self.config, self.split = tensors, config, split
        self.count: int | Tensor = 0
        self.state: dict[str, Tensor] = {} if state is None else state
        for name, tensor in tensors.items() if state is None else ():
            if self._factors(name, tensor):
                self.state[f"row.{name}"] = tensor.new_zeros(tensor.shape[:-1])
                self.state[f"column.{name}"] = tensor.new_zeros((*tensor.shape[:-2], tensor.shape[-1]))
            else:
                self.state[f"second.{name}"] = torch.zeros_like(tensor)

    def over(self, tensors: Mapping[str, Tensor], state: dict[str, Tensor]) -> Adafactor:
        """As `Optimiser.over`."""
        return Adafactor(tensors, self.config, self.split, state)

    def _rows(self, name: str) -> int | None:
        return None if self.split is None else self.split.rows(name)

    def _factors(self, name: str, tensor: Tensor) -> bool:
        """Whether one trial's tensor is a matrix that is factored."""
        if self.config.factored == "never" or tensor.dim() != 3:
            return False
        sides = self._rows(name) or tensor.shape[1], tensor.shape[2]
        return self.config.factored == "always" or min(sides) >= FACTOR_FROM

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
            share: as `_share`.
        """
        square = grad.square() + SMALLEST_SQUARE

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
        config, share = self.config, self._share()
        self.count += 1
        for name, tensor in self.tensors.items():
            if tensor.grad is None:
                continue
            update = self._scaled(name, tensor.grad, share)
            rms = self._root_mean_square(name, update)
            update = update / over((rms / config.clip_threshold).clamp(min=1.0), update)
            lr = over(rate_of(name, rate, config), tensor)
            if config.parameter_scaling:
                lr = lr * over(self._root_mean_square(name, tensor).clamp(min=SMALLEST_SCALE), tensor)
            decay = config.weight_decay * (lr if config.weight_decay_form == "times_learning_rate" else 1.0)
            tensor.mul_(1 - decay).sub_(lr * update)

    def _share(self) -> float | Tensor:
        """1 - beta2 of the next step: a number, or [K]."""
        start = self.config.step_offset + 1
        if isinstance(self.count, Tensor):
            return (self.count.double() + start) ** -self.config.decay_rate
        return float((self.count + start) ** -self.config.decay_rate)


def make_optimiser(
    tensors: Mapping[str, Tensor], config: OptimiserConfig, split: Split | None = None
) -> AdamW | Adafactor:
    """The optimiser that `config.name` names.

    Args:
        split: which tensors have rows in other processes.
    """
    return AdamW(tensors, config) if config.name == "adamw" else Adafactor(tensors, config, split)
