"""T5's attention over packed sequences: relative positions by sequence, and cross-attention without keys and values.

With the few label tokens of a classification task, projecting every token of the input to keys and values is most of
the decoder's work. (q Wk) enc^T and (p enc) Wv are the same scores and context with the projections on the label's side
(exact, and cheaper while a target has fewer tokens than a head has numbers).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.t5.modeling_t5 import eager_attention_forward as eager_attention_forward

from repro.models.attention.attached import attached, drop_shares, site_of
from repro.models.attention.packing import Group, Packed, Site

_TABLES = "repro_bias_tables"
STEP = 64
"""A table serves all lengths up to the next multiple of this. None is dropped for a longer one: a recorded pass
(`training.graphs`) goes on reading it where it lies."""


class PackedT5Attention(T5Attention):
    """The library's attention; where sequences are packed it computes no bias and no mask of the whole row."""

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None = None,
        key_value_states: Tensor | None = None,
        position_bias: Tensor | None = None,
        cache: Cache | None = None,
        **kwargs: object,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Hidden states [N, T, D], or packed [1, S, D], to the same."""
        site = site_of(self)
        if site is None:
            return super().forward(hidden_states, mask, key_value_states, position_bias, cache, **kwargs)
        if position_bias is None:
            position_bias = hidden_states.new_zeros(1, 1, 1, 1)  # the site has the bias of each sequence
        if key_value_states is not None and site.absorbed:
            return self.o(absorbed(self, hidden_states[0], key_value_states[0], site)[None]), position_bias, None
        return super().forward(hidden_states, mask, key_value_states, position_bias, None, **kwargs)


def relative_bias(module: T5Attention) -> Callable[[int, torch.dtype], Tensor]:
    """Length T to the bias [1, H, T, T] of a stack's first attention module, kept while its weight is frozen."""

    def bias(length: int, dtype: torch.dtype) -> Tensor:
        weight = module.relative_attention_bias.weight
        if weight.requires_grad:
            return module.compute_bias(length, length).to(dtype)
        version = (weight.data_ptr(), weight._version, dtype)
        tables: dict[int, Tensor]
        known, tables = module.__dict__.get(_TABLES, (None, {}))
        if known != version:
            tables = {}
            module.__dict__[_TABLES] = (version, tables)
        longest = -(-length // STEP) * STEP
        if longest not in tables:
            with torch.no_grad():
                tables[longest] = module.compute_bias(longest, longest).to(dtype).contiguous()
        return tables[longest][:, :, :length, :length]

    return bias


def absorbs(module: T5Attention, queries: Packed, keys: Packed) -> bool:
    """Whether a cross-attention module does less work without keys and values: frozen, and targets short enough."""
    frozen = all(type(part) is nn.Linear and not part.weight.requires_grad for part in (module.k, module.v))
    work = sum(asked * read for asked, read in zip(queries.lengths, keys.lengths, strict=True))
    return frozen and work < module.key_value_proj_dim * sum(keys.lengths)


def absorbed(module: T5Attention, states: Tensor, memory: Tensor, site: Site) -> Tensor:
    """Cross-attention of packed states [U, D] to a packed memory [S, D], before the output projection [U, H x Dh]."""
    heads, size = module.n_heads, module.key_value_proj_dim
    query = module.q(states).view(-1, heads, size)  # U H Dh
    by_head = module.k.weight.view(heads, size, -1)  # H Dh D
    over = torch.bmm(query.transpose(0, 1), by_head).transpose(0, 1)  # U H D: what is compared with the memory itself
    parts = zip(
        site.groups,
        query.split(site.query_tokens),
        over.split(site.query_tokens),
        memory[:, None].split(site.key_tokens),
        strict=True,
    )
    made = [_group(module, site, index, *part) for index, part in enumerate(parts)]
    context = torch.cat([read for read, _ in made]).transpose(0, 1)  # H U D
    values = torch.bmm(context, module.v.weight.view(heads, size, -1).mT).transpose(0, 1)  # U H Dh
    fronts = [front for _, front in made if front is not None]
    return (values + torch.cat(fronts) if fronts else values).flatten(1)


def _group(
    module: T5Attention, site: Site, index: int, group: Group, query: Tensor, over: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Of one group the weighted mean of the memory [U, H, D], and what the prefix adds to the values [U, H, Dh]."""
    read = group.keys.cut(memory)[:, 0]  # G S D
    count, heads = len(group.rows), over.shape[1]
    scores = (group.queries.cut(over).flatten(1, 2) @ read.mT).unflatten(1, (heads, -1))  # G H U S
    prefix, length, seen, values = attached(module), 0, None, None
    if prefix is not None:
        own = prefix.select(group.rows)
        keys, values = own.expanded(count, scores.dtype)
        length, seen = keys.shape[2], own.seen(count)
        scores = torch.cat([group.queries.cut(query) @ keys.mT, scores], 3)
    mask = site.mask(index, length, seen, scores.dtype)
    shares = (scores if mask is None else scores + mask).softmax(-1)
    if module.dropout and module.training:
        shares = drop_shares(module, shares, module.dropout, length, group.rows)
    context = (shares[..., length:].flatten(1, 2) @ read).unflatten(1, (heads, -1))  # G H U D
    front = None if values is None else group.queries.join((shares[..., :length] @ values).transpose(1, 2))
    return group.queries.join(context.transpose(1, 2)), front
