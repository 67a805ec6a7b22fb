"""Attention of DeBERTa v2 and v3: as `deberta`, with relative positions in buckets and shared projections."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, scaled_size_sqrt

from repro.models.attention.attached import attached
from repro.models.attention.deberta import masked_softmax


class PrefixSelfAttentionV2(DisentangledSelfAttention):
    """The library's attention with prefix columns in front of its scores; without a prefix it is the library's own."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Hidden states [N, T, D] to [N, T, D]; `query_states` (a masked-language-model decoder's) takes no prefix."""
        prefix = attached(self)
        if prefix is None or query_states is not None:
            given = (hidden_states, attention_mask, output_attentions, query_states, relative_pos, rel_embeddings)
            return super().forward(*given)
        heads = self.num_attention_heads
        projections = (self.query_proj, self.key_proj, self.value_proj)
        query, key, value = (self.transpose_for_scores(layer(hidden_states), heads) for layer in projections)
        factor = 1 + sum(kind in self.pos_att_type for kind in ("c2p", "p2c"))
        scale = scaled_size_sqrt(query, factor).to(query.dtype)
        scores = query @ (key.mT / scale)  # N x H, T, T
        if self.relative_attention:
            rows = self.pos_dropout(rel_embeddings)
            scores = scores + self.disentangled_attention_bias(query, key, relative_pos, rows, factor)
        query, value, scores = (each.unflatten(0, (-1, heads)) for each in (query, value, scores))
        keys, values = prefix.expanded(len(query), query.dtype)
        scores = torch.cat([query @ (keys.mT / scale), scores], -1)
        shares = self.dropout(masked_softmax(scores, attention_mask, prefix))
        context = shares @ torch.cat([values, value], 2)
        return context.transpose(1, 2).flatten(2), shares if output_attentions else None
