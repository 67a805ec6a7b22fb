"""Linear heads on an encoder's states: each row through its own trial's."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from repro.methods.base import Head


@cache
def constant(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Numbers on a device, copied there once."""
    return torch.tensor(values, device=device)


def head_logits(features: Tensor, head: Head, rows: Tensor) -> Tensor:
    """Each row through its own trial's linear layer: [N, ..., D] -> [N, ..., C], in float32."""
    weight, bias = head.weight[rows], head.bias[rows]  # N C D, N C
    flat = features.to(weight.dtype).flatten(1, -2) if features.dim() > 2 else features.to(weight.dtype)[:, None]
    logits = torch.baddbmm(bias[:, None], flat, weight.mT)
    if head.classes is not None:
        own = constant(head.classes, rows.device)[rows][:, None, None]
        logits = logits.masked_fill(torch.arange(logits.shape[2], device=rows.device) >= own, float("-inf"))
    return logits.view(*features.shape[:-1], -1)


def within_spans(logits: Tensor, spans: Tensor | None) -> Tensor:
    """Logits [N, ..., C] with the classes of other data sets than the row's own at -infinity; `spans` [N, 2]."""
    if spans is None:
        return logits
    shape = (-1, *[1] * (logits.dim() - 1))
    classes = torch.arange(logits.shape[-1], device=logits.device)
    outside = (classes < spans[:, 0].view(shape)) | (classes >= spans[:, 1].view(shape))
    return logits.masked_fill(outside, float("-inf"))
