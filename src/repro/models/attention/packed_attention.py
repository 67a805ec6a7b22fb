"""Attention over packed sequences, each with the prefix of its own trial in front: cut by sequence, or in one kernel
where there is one that takes them end to end (`varlen`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict, Unpack

import torch
from torch import Tensor, nn

from repro.models.attention import cpu_bfloat16, varlen_kernel
from repro.models.attention.attached import Prefix
from repro.models.attention.packing import Site

AttentionFunction = Callable[..., tuple[Tensor, Tensor | None]]
"""(module, query, key, value, mask, **AttentionOptions) to the output [N, T, H, Dh] and the probabilities, if any."""


class AttentionOptions(TypedDict, total=False):
    """Keywords of the library's attention functions that we read or set; others are handed on as they come."""

    dropout: float
    scaling: float | None
    is_causal: bool | None
    position_bias: Tensor | None
    prefix_length: int
    rows: Tensor | None


def attend(
    function: AttentionFunction,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    site: Site,
    prefix: Prefix | None,
    base: str,
    **kwargs: Unpack[AttentionOptions],
) -> tuple[Tensor, None]:
    """The library's attention function once a group of `site`: [1, H, S, Dh] to [1, S, H, Dh]."""
    kwargs["position_bias"] = None  # the site's masks hold it
    if varlen_kernel.applies(query, key, site, prefix, base, kwargs.get("dropout", 0.0)):
        rows = [states[0].transpose(0, 1) for states in (query, key, value)]
        return varlen_kernel.attention(rows[0], rows[1], rows[2], site, prefix, kwargs.get("scaling"))[None], None
    queries = query[0].transpose(0, 1).split(site.query_tokens)  # each tokens H Dh
    keys = key[0].transpose(0, 1).split(site.key_tokens)
    values = value[0].transpose(0, 1).split(site.key_tokens)
    widened = base == "sdpa" and cpu_bfloat16.applies(query, kwargs.get("dropout", 0.0)) and not site.tuned_bias
    scores = torch.float32 if widened else query.dtype
    out = []
    for index, group in enumerate(site.groups):
        own_keys, own_values = group.keys.cut(keys[index]), group.keys.cut(values[index])  # G H T Dh
        length, seen = 0, None
        if prefix is not None:
            own = prefix.select(group.rows)
            front_keys, front_values = own.expanded(len(group.rows), key.dtype)
            length, seen = front_keys.shape[2], own.seen(len(group.rows))
            own_keys, own_values = torch.cat([front_keys, own_keys], 2), torch.cat([front_values, own_values], 2)
        dropped = bool(kwargs.get("dropout"))
        if dropped:
            kwargs |= {"prefix_length": length, "rows": group.rows}
        plainly_causal = base == "sdpa" and site.plainly_causal and not length and not dropped
        mask = None if plainly_causal else site.mask(index, length, seen, scores)
        asked = group.queries.cut(queries[index])
        if widened:
            made = cpu_bfloat16.attention(asked, own_keys, own_values, mask, plainly_causal, kwargs.get("scaling"))
        else:
            changed = {**kwargs, "is_causal": plainly_causal}
            made, *_ = function(module, asked, own_keys, own_values, mask, **changed)
        out.append(group.queries.join(made))
    return torch.cat(out)[None] if len(out) > 1 else out[0][None], None
