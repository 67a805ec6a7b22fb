"""Bottleneck adapters behind every block, by hooks: x + up(relu(down(LN(x)))) (`methods.base.Adapter`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.methods.base import Adapter
from repro.models.threads import Own

Output = Tensor | tuple[Tensor, ...]
EPSILON = 1e-5
"""Of the layer norm."""


@dataclass
class Given:
    """The adapters of a pass."""

    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    rows: Tensor | None = None
    """Trial [N] that each row takes; None: the first."""


class Adapters:
    """What the blocks' hooks look at: `now` is this pass's adapters."""

    def __init__(self, blocks: Mapping[str, list[nn.Module]]):
        self.now = Own(Given)
        for stack, modules in blocks.items():
            for layer, module in enumerate(modules):
                module.register_forward_hook(self._hook(stack, layer))

    def _hook(self, stack: str, layer: int) -> Callable[[nn.Module, object, Output], Output | None]:
        def hook(module: nn.Module, args: object, output: Output) -> Output | None:
            now = self.now.here
            adapter = now.adapters.get(stack)
            if adapter is None:
                return None
            if isinstance(output, tuple):
                return (bottleneck(output[0], adapter, layer, now.rows), *output[1:])
            return bottleneck(output, adapter, layer, now.rows)

        return hook


def bottleneck(states: Tensor, adapter: Adapter, layer: int, rows: Tensor | None) -> Tensor:
    """States [N, T, D] of a block through each row's own adapter; N may count beams."""
    if rows is None:
        rows = torch.zeros(1, dtype=torch.long, device=states.device)
    rows = rows.repeat_interleave(len(states) // len(rows))
    parts = ("scale", "shift", "down", "down_bias", "up", "up_bias")
    own = {part: getattr(adapter, part)[:, layer][rows] for part in parts}
    x = states.to(own["down"].dtype)
    normed = F.layer_norm(x, x.shape[-1:], eps=EPSILON) * own["scale"][:, None] + own["shift"][:, None]
    inner = torch.baddbmm(own["down_bias"][:, None], normed, own["down"].mT).relu()
    return states + torch.baddbmm(own["up_bias"][:, None], inner, own["up"].mT).to(states.dtype)
