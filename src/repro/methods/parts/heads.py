"""The linear head that encoder models carry in every method: drawn as BERT draws new modules."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from repro.methods.base import Context, Head
from repro.methods.parts.initialisers import normal, stack


def build_head(context: Context, std: float = 0.02) -> dict[str, Tensor]:
    """`head.weight` [K, C, D] from N(0, 0.02^2) and `head.bias` [K, C] zero; nothing for a model that generates.

    Source: `_init_weights` of the official P-Tuning v2 run (transformers 4.11.3), papers/liu2022 section (a).
    """
    if context.outputs is None:
        return {}
    outputs, width = context.outputs, context.spec.width
    return {
        "head.weight": stack(lambda g: normal(g, outputs, width, std=std), context.generators),
        "head.bias": stack(lambda g: torch.zeros(outputs), context.generators),
    }


def head_of(tensors: Mapping[str, Tensor]) -> Head | None:
    """The head among named tensors, if there is one."""
    if "head.weight" not in tensors:
        return None
    return Head(tensors["head.weight"], tensors["head.bias"])


def per_trial(tensors: Mapping[str, Tensor], prefix: str = "") -> int:
    """Numbers in one trial's share of the tensors whose name starts with `prefix`."""
    return sum(tensor[0].numel() for name, tensor in tensors.items() if name.startswith(prefix))
