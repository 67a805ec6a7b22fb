"""How a prefix is made from trainable tensors: directly, or through an MLP while training.

Both papers' code lays one position's numbers out as [2L, H, Dh], keys of layer l at index 2l and values at 2l + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from repro.methods.base import Context, KeyValue, ModelSpec
from repro.methods.initialisers import linear_default, normal, stack


def split_layers(flat: Tensor, spec: ModelSpec, site: str) -> KeyValue:
    """[K, P, 2 x L x H x Dh] to keys and values [K, L, H, P, Dh]."""
    trials, length, _ = flat.shape
    parts = flat.view(trials, length, spec.sites[site], 2, spec.heads, spec.head_dim)  # K P L 2 H Dh
    keys, values = parts.permute(3, 0, 2, 4, 1, 5)  # each K L H P Dh
    return KeyValue(keys, values)


def join_layers(kv: KeyValue) -> Tensor:
    """The inverse of `split_layers`."""
    parts = torch.stack([kv.keys, kv.values])  # 2 K L H P Dh
    return parts.permute(1, 4, 2, 0, 3, 5).flatten(2)  # K P (L 2 H Dh)


def mlp(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """tanh(E W1' + b1) W2' + b2 for every trial: [K, P, D] -> [K, P, 2 x L x H x Dh].

    Li and Liang section 4.3 (`control_trans` of the official code); Liu et al. section 3.3 (`prefix_projection`).
    """
    hidden = torch.baddbmm(
        tensors[f"{name}.b1"][:, None], tensors[f"{name}.embedding"], tensors[f"{name}.w1"].mT
    ).tanh()
    return torch.baddbmm(tensors[f"{name}.b2"][:, None], hidden, tensors[f"{name}.w2"].mT)


class Starts(Protocol):
    """Draws the MLP's starting values of one trial."""

    def embedding(self, generator: torch.Generator, length: int, width: int) -> Tensor: ...

    def linear(self, generator: torch.Generator, outputs: int, inputs: int) -> tuple[Tensor, Tensor]: ...


class TorchDefaults:
    """`nn.Embedding` N(0, 1), `nn.Linear` uniform: Li and Liang's code, where `init_weights` is never called."""

    def embedding(self, generator: torch.Generator, length: int, width: int) -> Tensor:
        """[length, width]"""
        return normal(generator, length, width)

    def linear(self, generator: torch.Generator, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs] and bias [outputs]."""
        return linear_default(generator, outputs, inputs)


class Gaussian:
    """N(0, std^2), zero biases: what `from_pretrained` makes of P-Tuning v2's modules (papers/liu2022 section (a))."""

    def __init__(self, std: float):
        self.std = std

    def embedding(self, generator: torch.Generator, length: int, width: int) -> Tensor:
        """[length, width]"""
        return normal(generator, length, width, std=self.std)

    def linear(self, generator: torch.Generator, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs] and bias [outputs]."""
        return normal(generator, outputs, inputs, std=self.std), torch.zeros(outputs)


def build_mlp(context: Context, site: str, length: int, hidden: int, starts: Starts) -> dict[str, Tensor]:
    """`<site>.embedding` [K, P, D], `w1` [K, k, D], `b1` [K, k], `w2` [K, 2LHDh, k], `b2` [K, 2LHDh]."""
    width, out = context.spec.width, context.spec.kv_width(site)
    drawn = []
    for generator in context.generators:
        embedding = starts.embedding(generator, length, width)
        (w1, b1), (w2, b2) = starts.linear(generator, hidden, width), starts.linear(generator, out, hidden)
        drawn.append({"embedding": embedding, "w1": w1, "b1": b1, "w2": w2, "b2": b2})
    return {f"{site}.{name}": torch.stack([d[name] for d in drawn]).requires_grad_() for name in drawn[0]}


def build_direct(context: Context, site: str, length: int, starts: Starts) -> dict[str, Tensor]:
    """`<site>.prefix` [K, P, 2 x L x H x Dh]: the prefix itself is trained."""
    width = context.spec.kv_width(site)
    return {f"{site}.prefix": stack(lambda g: starts.embedding(g, length, width), context.generators)}


def prefix_of(tensors: Mapping[str, Tensor], site: str) -> Tensor:
    """The prefix [K, P, 2 x L x H x Dh] of a site, through its MLP if it has one."""
    return tensors[f"{site}.prefix"] if f"{site}.prefix" in tensors else mlp(tensors, site)
