"""A pass over some examples, made ready for the device, and its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.models.base import ModelAdapter, Reading
from repro.models.batch import Batch
from repro.models.moving import moved
from repro.training.filling import filled


@dataclass(frozen=True)
class Pass:
    """Everything of a pass that depends on the values of its batch, on the device."""

    reading: Reading
    owner: Tensor
    """Trial of every example [N / choices], without fillers"""
    fixed: bool = False
    """Its shapes are those of many batches (`filling`)."""


def owners(batch: Batch) -> Tensor:
    """The trial of every example [N / choices]."""
    return batch.rows[:: batch.choices]


def prompt_lengths(injection: Injection, trials: int) -> list[int]:
    """Rows of each trial's prompt at the input."""
    if injection.embeds_mask is None:
        return [injection.prompt_length] * trials
    found: list[int] = injection.embeds_mask.sum(1).tolist()
    return found


def ready(
    adapter: ModelAdapter, batch: Batch, injection: Injection, device: torch.device, trials: int, fixed: bool = False
) -> Pass:
    """A batch that lies on the CPU as a pass; not fixed where its sequences cannot be packed."""
    can_fill = fixed and not batch.left and batch.slots is None and injection.infix is None
    reading = None
    if can_fill:
        full = filled(batch, prompt_lengths(injection, trials))
        reading = adapter.reading(full, injection, fixed=True)
    if reading is None or reading.sites is None:
        can_fill, reading = False, adapter.reading(batch, injection)
    for site in (reading.sites or {}).values():
        site.lay_out()
    owner = owners(batch)
    return Pass(moved(reading, device), moved(owner, device), can_fill)


def losses(
    adapter: ModelAdapter, one: Pass, injection: Injection, divisor: Tensor, step_key: int | None, z: dict[str, Any]
) -> Tensor:
    """What the pass adds to every trial's loss [K]: sums over its examples, divided by `divisor` [K].

    Args:
        step_key: for dropout of tables that all rows share, where there is one trial.
        z: options of the adapter's loss.
    """
    batch = one.reading.batch
    adapter.backbone.dropout.fill(batch.draws, step_key)
    each = adapter.losses(batch, injection, **z, reading=one.reading).total[: len(one.owner)]
    total = each.new_zeros(len(divisor)).index_add(0, one.owner, each)
    return total / divisor * (1.0 if batch.counted else 0.0)
