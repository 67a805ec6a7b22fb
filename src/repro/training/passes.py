"""A pass over some examples, made ready for the device, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.models.encoding.batch import Batch
from repro.models.interface import ModelAdapter, Reading
from repro.models.tensor_tree import moved
from repro.training.fixed_shapes import filled


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
    """Rows of each trial's prompt at the input; waits for the device where they differ."""
    if injection.embeds_mask is None:
        return [injection.prompt_length] * trials
    found: list[int] = injection.embeds_mask.sum(1).tolist()
    return found


def on_host(injection: Injection, prompts: Sequence[int]) -> Injection:
    """With the mask of prompts of unlike lengths on the CPU, where batches are laid out."""
    if injection.embeds_mask is None:
        return injection
    mask = torch.arange(injection.prompt_length)[None] < torch.tensor(prompts)[:, None]
    return replace(injection, embeds_mask=mask)


def ready(
    adapter: ModelAdapter,
    batch: Batch,
    injection: Injection,
    device: torch.device,
    prompts: Sequence[int],
    fixed: bool = False,
) -> Pass:
    """A batch that lies on the CPU as a pass; not fixed where it cannot be packed or filled up.

    Args:
        prompts: as `prompt_lengths`.
    """
    given = on_host(injection, prompts)
    can_fill = fixed and not batch.left and batch.slots is None and injection.infix is None
    full = filled(batch, prompts) if can_fill else None
    reading = None if full is None else adapter.reading(full, given, fixed=True)
    if reading is None or reading.sites is None:
        full, reading = None, adapter.reading(batch, given)
    for site in (reading.sites or {}).values():
        site.lay_out()
    return Pass(moved(reading, device), moved(owners(batch), device), full is not None)


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
