"""One injection for all passes of a step: what makes a prompt (an MLP, an LSTM) runs once, forward and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from repro.methods.base import Injection


class Shared:
    """An injection of which every pass gets a copy that is cut off from how its tensors were made.

    Passes may run at the same time: each has gradients of its own. Their sums, in the order in which they are taken,
    go back through what made the tensors at the end.
    """

    def __init__(self, injection: Injection) -> None:
        self.injection = injection
        self._made: list[Tensor] = []
        _replaced(injection, self._made.append)
        self._sums: list[Tensor | None] = [None] * len(self._made)

    def copy(self) -> tuple[Injection, list[Tensor]]:
        """The injection for one pass, and its tensors that gather gradients."""
        cut: list[Tensor] = []
        return _replaced(self.injection, cut.append, cut=True), cut

    def take(self, gradients: list[Tensor | None]) -> None:
        """Add a pass's gradients, in the order of its tensors."""
        for place, gradient in enumerate(gradients):
            have = self._sums[place]
            if have is None or gradient is None:
                self._sums[place] = gradient if have is None else have
            else:
                have += gradient

    def send_back(self) -> None:
        """Carry the sums to the trained tensors."""
        pairs = [(one, gradient) for one, gradient in zip(self._made, self._sums, strict=True) if gradient is not None]
        if pairs:
            torch.autograd.backward([one for one, _ in pairs], [gradient for _, gradient in pairs])


def _replaced(value: Any, note: Any, cut: bool = False) -> Any:
    """`value` with every tensor that takes part in the gradient noted, and cut off first if asked."""
    if isinstance(value, Tensor):
        if not value.requires_grad:
            return value
        one = value.detach().requires_grad_() if cut else value
        note(one)
        return one
    if isinstance(value, Mapping):
        return {name: _replaced(inner, note, cut) for name, inner in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _replaced(getattr(value, one.name), note, cut) for one in fields(value)})
    return value
