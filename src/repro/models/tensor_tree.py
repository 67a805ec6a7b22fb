"""The tensors inside a value made of dataclasses, mappings and packed sequences: changed, or listed in one order."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor

from repro.models.attention.packing import Packed, Site

T = TypeVar("T")


def mapped(value: T, change: Callable[[Tensor], Tensor]) -> T:
    """A copy with `change` of every tensor in it; what occurs twice in the value is one thing in the copy, too."""
    return cast(T, _mapped(value, change, {}))


def _mapped(value: object, change: Callable[[Tensor], Tensor], done: dict[int, object]) -> object:
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, Tensor):
        made: object = change(value)
    elif isinstance(value, Mapping):
        made = {name: _mapped(inner, change, done) for name, inner in value.items()}
    elif isinstance(value, tuple) and value and is_dataclass(value[0]):
        made = tuple(_mapped(inner, change, done) for inner in value)
    elif isinstance(value, (Packed, Site)) or (is_dataclass(value) and not isinstance(value, type)):
        made = copy.copy(value)
        for name, inner in vars(value).items():
            vars(made)[name] = _mapped(inner, change, done)
    else:
        return value
    done[id(value)] = made
    return made


def tensors_of(value: object) -> list[Tensor]:
    """Every tensor in it, once each, in an order that depends on the value's structure alone."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(value, note)
    return found


def moved(value: T, device: torch.device) -> T:
    """From the CPU to a device; to a GPU from pinned memory, without waiting for the copy."""
    if device.type == "cpu":
        return value
    if device.type != "cuda":
        return mapped(value, lambda tensor: tensor.to(device))
    return mapped(value, lambda tensor: pinnable(tensor).pin_memory().to(device, non_blocking=True))


def pinnable(tensor: Tensor) -> Tensor:
    """With a place of its own for every element, in order: an expanded tensor cannot be pinned, and torch copies a
    strided one through memory that is not, for which it waits."""
    return tensor.contiguous()
