"""Adapters as Lin et al. 2020 have them, Li and Liang's baseline: one behind every block, with its own layer norm."""

from __future__ import annotations

import torch
from torch import Tensor

from repro.methods.base import Adapter, Context, Injection, ModelSpec
from repro.methods.parts.heads import build_head, head_of
from repro.methods.parts.initialisers import normal
from repro.methods.parts.tensor_method import TensorMethod

PARTS = ("scale", "shift", "down", "down_bias", "up", "up_bias")


class AdapterTuning(TensorMethod):
    """x + W_up relu(W_down LN(x)) behind every block, with biases: L x (2 D R + R + 3 D) numbers a stack.

    Args:
        bottleneck: R (Li and Liang's 0.1 % is 6 and their 3 % is 224 on GPT-2 medium, by LoRA's counts).
        init_std: of both matrices; biases start at 0 and the norm at identity.
    """

    name = "adapter"

    def __init__(self, bottleneck: int = 6, init_std: float = 0.02):
        self.bottleneck, self.init_std = bottleneck, init_std
        self.parameters: dict[str, Tensor] = {}

    def build(self, context: Context) -> None:
        """`<stack>.adapter.<part>` of every stack, then the head (encoders)."""
        drawn = [self._draw(generator, context.spec) for generator in context.generators]
        self.parameters = {name: torch.stack([d[name] for d in drawn]).requires_grad_() for name in drawn[0]}
        self.parameters |= build_head(context)

    def _draw(self, generator: torch.Generator, spec: ModelSpec) -> dict[str, Tensor]:
        width, inner = spec.width, self.bottleneck
        out: dict[str, Tensor] = {}
        for stack, layers in spec.sites.items():
            if stack == "cross":  # a site of the decoder's blocks, no stack of its own
                continue
            values = {
                "scale": torch.ones(layers, width),
                "shift": torch.zeros(layers, width),
                "down": normal(generator, layers, inner, width, std=self.init_std),
                "down_bias": torch.zeros(layers, inner),
                "up": normal(generator, layers, width, inner, std=self.init_std),
                "up_bias": torch.zeros(layers, width),
            }
            out |= {f"{stack}.adapter.{part}": value for part, value in values.items()}
        return out

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """An adapter a stack."""
        stacks = dict.fromkeys(name.partition(".")[0] for name in self.parameters if ".adapter." in name)
        return Injection(
            adapters={
                stack: Adapter(*(self.parameters[f"{stack}.adapter.{part}"] for part in PARTS)) for stack in stacks
            },
            head=head_of(self.parameters),
        )
