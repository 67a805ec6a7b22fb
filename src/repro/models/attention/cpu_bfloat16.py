"""Attention of bfloat16 models on a CPU: computed in float32, kept for the backward pass in bfloat16.

torch's CPU kernel for bfloat16 takes two to four times as long as that for float32 on the short sequences of these
tasks (both directions, measured on a core with AVX-512 BF16); a cast is cheap beside it, and the result is the more
exact one. Autograd alone would keep the float32 copies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repro.models.attention.autograd import Context

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Context, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float | None
    ) -> Tensor:
        wide = (query.float(), key.float(), value.float())
        out, sums = _forward(*wide, 0.0, causal, attn_mask=mask, scale=scale)
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, sums, mask)
        ctx.causal, ctx.scale = causal, scale
        return out

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums, mask = ctx.saved_tensors
        wide = [tensor.float() for tensor in (gradients[0], query, key, value, out)]
        found = _backward(*wide, sums, 0.0, ctx.causal, attn_mask=mask, scale=ctx.scale)
        return (*(gradient.to(query.dtype) for gradient in found), None, None, None)


def applies(query: Tensor, dropout: float) -> bool:
    """Whether the kernel stands in: bfloat16 on a CPU, no dropout (it has no gradient of a mask either)."""
    return query.dtype == torch.bfloat16 and query.device.type == "cpu" and not dropout


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float | None
) -> Tensor:
    """[G, H, Q, Dh] over [G, heads, K, Dh] to [G, Q, H, Dh]: H / heads queries share a key; `mask` is float32."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    out: Tensor = _Attention.apply(query, key, value, mask, causal, scale)
    return out.transpose(1, 2)
