"""One injection for all passes of a step: what makes a prompt (an MLP, an LSTM) runs once, forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.models.tensor_tree import mapped, tensors_of


class SharedInjection:
    """An injection of which every pass gets a copy, detached from the graph that made its tensors.

    Passes may run at the same time, so each has gradients of its own. Their sums, in the order in which they are added,
    go back through the graph at the end.
    """

    def __init__(self, whole: Injection) -> None:
        self.whole = whole
        self._made = [tensor for tensor in tensors_of(whole) if tensor.requires_grad]
        self._sums: list[Tensor | None] = [None] * len(self._made)

    def copy(self) -> tuple[Injection, list[Tensor]]:
        """The injection for one pass, and those of its tensors that need gradients."""
        leaves: list[Tensor] = []

        def detach(tensor: Tensor) -> Tensor:
            if not tensor.requires_grad:
                return tensor
            leaves.append(tensor.detach().requires_grad_())
            return leaves[-1]

        return mapped(self.whole, detach), leaves

    def add(self, gradients: list[Tensor | None]) -> None:
        """Add a pass's gradients, in the order of its tensors."""
        for index, gradient in enumerate(gradients):
            total = self._sums[index]
            if total is None or gradient is None:
                self._sums[index] = gradient if total is None else total
            else:
                total += gradient

    def send_back(self) -> None:
        """Carry the sums back to the trained tensors."""
        pairs = [(tensor, total) for tensor, total in zip(self._made, self._sums, strict=True) if total is not None]
        if pairs:
            torch.autograd.backward([tensor for tensor, _ in pairs], [total for _, total in pairs])
