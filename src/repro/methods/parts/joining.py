"""Trained prompts of several tasks or seeds side by side on the trial axis, so that one batch can serve them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.methods.base import Adapter, Head, Injection, KeyValue


def joined(injections: Sequence[Injection]) -> Injection:
    """One injection with K the number of them; shorter prompts, fewer classes and narrower adapters are padded.

    Args:
        injections: each with K = 1.

    Raises:
        ValueError: kinds of injection that cannot share a batch, with what differs.
    """
    first = injections[0]
    if len(injections) == 1:
        return first
    for name in ("placement", "embedded_twice", "pooled_at_prompt"):
        if len({getattr(one, name) for one in injections}) > 1:
            raise ValueError(f"their {name} differs")
    if len({one.embeds is None for one in injections}) > 1 or len({tuple(one.kv) for one in injections}) > 1:
        raise ValueError("some have a prompt at the input and others keys and values, or they have them at other sites")
    embeds, mask = _embeds(injections)
    return Injection(
        embeds=embeds,
        placement=first.placement,
        embeds_mask=mask,
        embedded_twice=first.embedded_twice,
        pooled_at_prompt=first.pooled_at_prompt,
        infix=_infix(injections),
        adapters=_adapters(injections),
        kv={site: _key_values([one.kv[site] for one in injections]) for site in first.kv},
        kv_dropout=_rates(injections),
        position_shift=_shift(injections),
        head=_heads(injections),
    )


def _rows(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Tensors [1, ...] on axis K, padded with zeros at the end of `dim` to the longest."""
    longest = max(tensor.shape[dim] for tensor in tensors)
    after = tensors[0].dim() - 1 - dim
    return torch.cat([F.pad(t, (0, 0) * after + (0, longest - t.shape[dim])) for t in tensors])


def _mask(lengths: Sequence[int], device: torch.device) -> Tensor | None:
    """[K, P] True on each trial's own positions; None where all are equally long."""
    if len(set(lengths)) == 1:
        return None
    return torch.arange(max(lengths), device=device)[None] < torch.tensor(lengths, device=device)[:, None]


def _embeds(injections: Sequence[Injection]) -> tuple[Tensor | None, Tensor | None]:
    found = [one.embeds for one in injections if one.embeds is not None]
    if not found:
        return None, None
    return _rows(found, 1), _mask([tensor.shape[1] for tensor in found], found[0].device)


def _infix(injections: Sequence[Injection]) -> KeyValue | None:
    found = [one.infix for one in injections if one.infix is not None]
    if not found:
        return None
    if len({one.length for one in found}) > 1:
        raise ValueError("infixes of different lengths cannot share a batch")
    return KeyValue(torch.cat([one.keys for one in found]), torch.cat([one.values for one in found]))


def _key_values(found: Sequence[KeyValue]) -> KeyValue:
    if len({one.layers for one in found}) > 1:
        raise ValueError("their prefixes are in different layers")
    mask = _mask([one.length for one in found], found[0].keys.device)
    return KeyValue(
        _rows([one.keys for one in found], 3), _rows([one.values for one in found], 3), found[0].layers, mask
    )


def _shift(injections: Sequence[Injection]) -> int | Tensor:
    shifts = [int(one.position_shift) for one in injections]
    device = next((kv.keys.device for one in injections for kv in one.kv.values()), None)
    return shifts[0] if len(set(shifts)) == 1 else torch.tensor(shifts, device=device)


def _rates(injections: Sequence[Injection]) -> float | Tensor:
    rates = [float(one.kv_dropout) for one in injections]
    device = next((kv.keys.device for one in injections for kv in one.kv.values()), None)
    return rates[0] if len(set(rates)) == 1 else torch.tensor(rates, dtype=torch.float64, device=device)


def _heads(injections: Sequence[Injection]) -> Head | None:
    found = [one.head for one in injections if one.head is not None]
    if not found:
        return None
    classes = tuple(head.weight.shape[1] for head in found)
    weight, bias = _rows([head.weight for head in found], 1), _rows([head.bias for head in found], 1)
    return Head(weight, bias, classes if len(set(classes)) > 1 else None)


def _adapters(injections: Sequence[Injection]) -> dict[str, Adapter]:
    if len({tuple(one.adapters) for one in injections}) > 1:
        raise ValueError("some have adapters and others have none")
    out = {}
    for stack in injections[0].adapters:
        found = [one.adapters[stack] for one in injections]
        narrow = {"down": 2, "down_bias": 2, "up": 3}  # the axis of the bottleneck; a zero unit adds nothing
        parts = ("scale", "shift", "down", "down_bias", "up", "up_bias")
        out[stack] = Adapter(*(_rows([getattr(one, part) for one in found], narrow.get(part, 1)) for part in parts))
    return out
