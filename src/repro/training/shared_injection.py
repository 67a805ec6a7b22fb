"""One injection for all passes of a step: what makes a prompt (an MLP, an LSTM) runs once, forward and back."""

from __future__ import annotations

import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.models.tensor_tree import mapped, tensors_of


class Shared:
    """An injection of which every pass gets a copy that is cut off from how its tensors were made.

    Passes may run at the same time: each has gradients of its own. Their sums, in the order in which they are taken,
    go back through what made the tensors at the end.
    """

    def __init__(self, injection: Injection) -> None:
        self.injection = injection
        self._made = [tensor for tensor in tensors_of(injection) if tensor.requires_grad]
        self._sums: list[Tensor | None] = [None] * len(self._made)

    def copy(self) -> tuple[Injection, list[Tensor]]:
        """The injection for one pass, and its tensors that gather gradients."""
        leaves: list[Tensor] = []

        def cut(tensor: Tensor) -> Tensor:
            if not tensor.requires_grad:
                return tensor
            leaves.append(tensor.detach().requires_grad_())
            return leaves[-1]

        return mapped(self.injection, cut), leaves

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
