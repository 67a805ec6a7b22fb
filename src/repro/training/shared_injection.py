"""One injection for all micro-batches of a step: what makes a prompt (an MLP, an LSTM) runs once, forward and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from repro.methods.base import Injection


def shared(injection: Injection) -> tuple[Injection, Callable[[], None]]:
    """The injection with computed tensors cut off from how they were made, and what sends their gradients on.

    Every micro-batch adds to the cut tensors' gradients; the second return value, called once after the last of them,
    carries the sums back through the graph that made the tensors. Trained tensors that are injected as they are stay.
    """
    made: list[Tensor] = []
    cut: list[Tensor] = []

    def of(value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.grad_fn is None:
                return value
            made.append(value)
            cut.append(value.detach().requires_grad_())
            return cut[-1]
        if isinstance(value, Mapping):
            return {name: of(inner) for name, inner in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{field.name: of(getattr(value, field.name)) for field in fields(value)})
        return value

    whole: Injection = of(injection)

    def send_back() -> None:
        pairs = [(one, leaf.grad) for one, leaf in zip(made, cut, strict=True) if leaf.grad is not None]
        if pairs:
            torch.autograd.backward([one for one, _ in pairs], [gradient for _, gradient in pairs])

    return whole, send_back
