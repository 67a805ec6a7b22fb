"""DeBERTa's attention is its own, so a prefix enters by a subclass of it (v1 here, v2 in `deberta_v2`).

As in P-Tuning v2's copies of the modelling files, prefix keys take part in content-to-content scores only: they have no
relative position (liu2022 section (a), "Model code").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention, scaled_size_sqrt

from repro.models.attention.attached import Prefix, attached


class PrefixSelfAttention(DisentangledSelfAttention):
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
        query, key, value = self.transpose_for_scores(self.in_proj(hidden_states)).chunk(3, dim=-1)  # N H T Dh
        query = query + self.transpose_for_scores(self.q_bias[None, None, :])
        value = value + self.transpose_for_scores(self.v_bias[None, None, :])
        factor = 1 + len(self.pos_att_type)
        query = query / scaled_size_sqrt(query, factor).to(query.dtype)
        scores = query @ key.mT
        if self.relative_attention and rel_embeddings is not None and relative_pos is not None:
            rows = self.pos_dropout(rel_embeddings)
            scores = scores + self.disentangled_att_bias(query, key, relative_pos, rows, factor)
        keys, values = prefix.expanded(len(query), query.dtype)
        scores = torch.cat([query @ keys.mT, scores], -1)
        if self.head_logits_proj is not None:
            scores = across_heads(self.head_logits_proj, scores)
        shares = self.dropout(masked_softmax(scores, attention_mask, prefix))
        if self.head_weights_proj is not None:
            shares = across_heads(self.head_weights_proj, shares)
        context = shares @ torch.cat([values, value], 2)
        return context.transpose(1, 2).flatten(2), shares if output_attentions else None


def across_heads(projection: nn.Module, scores: Tensor) -> Tensor:
    """Talking heads: a linear map over the axis of heads of [N, H, T, keys]."""
    mixed: Tensor = projection(scores.permute(0, 2, 3, 1))
    return mixed.permute(0, 3, 1, 2)


def masked_softmax(scores: Tensor, attention_mask: Tensor, prefix: Prefix) -> Tensor:
    """Softmax over prefix and real keys [N, H, T, P + T]; `attention_mask` [N, 1, T, T] is about the real ones."""
    mask, length = attention_mask.bool(), scores.shape[-1] - attention_mask.shape[-1]
    front = mask.new_ones(*mask.shape[:-1], length)
    seen = prefix.seen(len(scores))
    if seen is not None:
        front = front & seen
    mask = torch.cat([front, mask], -1)
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)


class FirstToken(nn.Module):
    """tanh(W [CLS] + b), which DeBERTa's checkpoints do not have: drawn like any missing pooler, and kept frozen."""

    def __init__(self, width: int, like: Tensor):
        super().__init__()
        weight = torch.randn(width, width, generator=torch.Generator().manual_seed(0)) * 0.02
        self.dense = nn.Linear(width, width, device="meta")
        self.dense.weight = nn.Parameter(weight.to(like.device, like.dtype))
        self.dense.bias = nn.Parameter(torch.zeros(width, device=like.device, dtype=like.dtype))

    def forward(self, states: Tensor) -> Tensor:
        """[N, T, D] to [N, D]"""
        return self.dense(states[:, 0]).tanh()


def prepared(model: PreTrainedModel, modules: list[nn.Module], attention: type[nn.Module]) -> list[str]:
    """Make a loaded model take prefixes, by the subclass of its attention; returns the deviations."""
    for module in modules:
        module.__class__ = attention
    model.pooler = FirstToken(model.config.hidden_size, next(model.get_input_embeddings().parameters()))
    return ["the model has no pooler (classification only): drawn from N(0, 0.02^2) and kept frozen"]
