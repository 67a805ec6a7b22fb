"""The last layer of BERT and RoBERTa where sequences are packed: only the positions that somebody reads are computed.

A classifier reads [CLS], a cloze its gap. Keys and values are made of all tokens; queries, the output projection and
the feed-forward part of the read ones, which for [CLS] is a fifth of the layer's work instead of all of it.
"""

from __future__ import annotations

from torch import Tensor
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.roberta.modeling_roberta import RobertaLayer

from repro.models.attention.attached import site_of
from repro.models.attention.prefix_attention import attend_site


def read_states(layer: BertLayer | RobertaLayer, hidden_states: Tensor) -> Tensor | None:
    """Packed states [1, S, D] to the layer's output at the read tokens [1, M, D]; None where all are read."""
    inner = layer.attention.self
    site = site_of(inner)
    if site is None or site.read is None:
        return None
    wanted = hidden_states[:, site.read.places_in(site.keys)]
    query, key, value = (
        part(states).unflatten(2, (-1, inner.attention_head_size)).transpose(1, 2)
        for part, states in ((inner.query, wanted), (inner.key, hidden_states), (inner.value, hidden_states))
    )
    dropout = inner.dropout.p if inner.training else 0.0
    out = attend_site(inner, query, key, value, site.of_read, dropout=dropout, scaling=inner.scaling)
    states: Tensor = layer.feed_forward_chunk(layer.attention.output(out.flatten(2), wanted))
    return states


class LastBertLayer(BertLayer):
    """BERT's."""

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        """[N, T, D] to the same; packed, [1, S, D] to [1, M, D]."""
        read = read_states(self, hidden_states)
        return super().forward(hidden_states, *args, **kwargs) if read is None else read


class LastRobertaLayer(RobertaLayer):
    """RoBERTa's."""

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        """As BERT's."""
        read = read_states(self, hidden_states)
        return super().forward(hidden_states, *args, **kwargs) if read is None else read
