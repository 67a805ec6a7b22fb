"""What our autograd functions use of torch's context object."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Context(Protocol):
    """Keeps tensors, and facts about them, from the forward to the backward pass."""

    saved_tensors: tuple[Tensor, ...]
    total: int
    """Rows of the tensor that was read."""
    causal: bool
    scale: float | None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep them."""
        ...
