"""GLM (blocklm) 2B and 10B, the two models of P-Tuning v2 that no library loads: a port from their formulas.

A pre-norm transformer that reads a context in both directions and generates an answer behind it from left to right. It
has two learnt position tables: the place in the context, and the place in the answer (block). Weight names are the
official checkpoint's (`module` saved as it is), so its tensors in a safetensors file load as they are.

Here it reads with `[CLS]` in front and everything in the context, as an encoder does: a linear head on the first token,
on every token, or the language-model head at `[MASK]`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import eager_attention_forward as eager_attention_forward

EPSILON = 1e-5
"""Of every layer norm."""


class GlmBlockConfig(PretrainedConfig):
    """Shapes: L blocks of width D with H heads, tables of `max_sequence_length` + 1 positions."""

    model_type = "glm_blocklm"

    def __init__(
        self,
        vocab_size: int = 50304,
        hidden_size: int = 2048,
        num_layers: int = 36,
        num_attention_heads: int = 32,
        max_sequence_length: int = 1024,
        embedding_dropout_prob: float = 0.1,
        attention_dropout_prob: float = 0.1,
        output_dropout_prob: float = 0.1,
        **kwargs: Any,
    ):
        self.vocab_size, self.hidden_size, self.num_layers = vocab_size, hidden_size, num_layers
        self.num_attention_heads, self.max_sequence_length = num_attention_heads, max_sequence_length
        self.embedding_dropout_prob, self.attention_dropout_prob = embedding_dropout_prob, attention_dropout_prob
        self.output_dropout_prob = output_dropout_prob
        super().__init__(**kwargs)


class GlmAttention(nn.Module):
    """softmax(q k^T / sqrt(Dh)) v with one fused projection [q; k; v]."""

    is_causal = False
    num_key_value_groups = 1

    def __init__(self, config: GlmBlockConfig):
        super().__init__()
        self.config, width = config, config.hidden_size
        self.head_dim = width // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.output_dropout_prob)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [N, T, D]; `mask` [N, 1, T, T] True where a row may look at a column."""
        query, key, value = (
            part.unflatten(2, (-1, self.head_dim)).transpose(1, 2)
            for part in self.query_key_value(states).chunk(3, dim=-1)
        )
        name = str(self.config._attn_implementation)
        if not name.endswith("sdpa"):
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager_attention_forward)
        dropout = self.config.attention_dropout_prob if self.training else 0.0
        out, _ = attend(self, query, key, value, mask, dropout=dropout, scaling=self.scaling)
        return self.dropout(self.dense(out.flatten(2)))


class GlmMlp(nn.Module):
    """D -> 4D -> D with the tanh form of GELU."""

    def __init__(self, config: GlmBlockConfig):
        super().__init__()
        self.config, width = config, config.hidden_size
        self.dense_h_to_4h = nn.Linear(width, 4 * width)
        self.dense_4h_to_h = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(config.output_dropout_prob)

    def forward(self, states: Tensor) -> Tensor:
        """[N, T, D] to [N, T, D]"""
        inner = F.gelu(self.dense_h_to_4h(states), approximate="tanh")
        return self.dropout(self.dense_4h_to_h(inner))


class GlmBlock(nn.Module):
    """x + attention(LN(x)), then x + mlp(LN(x))."""

    def __init__(self, config: GlmBlockConfig):
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, EPSILON)
        self.attention = GlmAttention(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, EPSILON)
        self.mlp = GlmMlp(config)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """[N, T, D] to [N, T, D]"""
        states = states + self.attention(self.input_layernorm(states), mask)
        return states + self.mlp(self.post_attention_layernorm(states))


class GlmTransformer(nn.Module):
    """Position tables, blocks and the final norm, named as in the checkpoint."""

    def __init__(self, config: GlmBlockConfig):
        super().__init__()
        rows = config.max_sequence_length + 1
        self.position_embeddings = nn.Embedding(rows, config.hidden_size)
        self.block_position_embeddings = nn.Embedding(rows, config.hidden_size)
        self.layers = nn.ModuleList(GlmBlock(config) for _ in range(config.num_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, EPSILON)


class FirstToken(nn.Module):
    """The state of [CLS] as it is: the checkpoints have no pooler."""

    def forward(self, states: Tensor) -> Tensor:
        """[N, T, D] to [N, D]"""
        return states[:, 0]


class GlmPreTrained(PreTrainedModel):
    """What the library needs to know to load and save."""

    config_class = GlmBlockConfig
    base_model_prefix = "glm"
    _supports_sdpa = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


class GlmModel(GlmPreTrained):
    """Token ids to hidden states."""

    def __init__(self, config: GlmBlockConfig):
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.transformer = GlmTransformer(config)
        self.dropout = nn.Dropout(config.embedding_dropout_prob)
        self.pooler = FirstToken()
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token table."""
        return self.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token table."""
        self.word_embeddings = value  # type: ignore[assignment]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        context_length: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Hidden states [N, T, D] of ids [N, T] or embeddings [N, T, D].

        Args:
            attention_mask: [N, T] 1 on real tokens.
            token_type_ids: not used, GLM has no types.
            position_ids: [N, 2, T] places in the context and in the answer; by default 0, 1, ... and zeros.
            context_length: [N] tokens that every row may look at; behind them each sees itself and what is before it.
                By default the whole sequence.
        """
        states = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        rows, length = states.shape[:2]
        places = torch.arange(length, device=states.device)
        if position_ids is None:
            position_ids = torch.stack([places, torch.zeros_like(places)]).expand(rows, -1, -1)
        part = self.transformer
        states = states + part.position_embeddings(position_ids[:, 0])
        states = states + part.block_position_embeddings(position_ids[:, 1])
        states = self.dropout(states)
        mask = torch.ones(rows, 1, length, length, dtype=torch.bool, device=states.device)
        if context_length is not None:
            context = places[None, None, None] < context_length[:, None, None, None]
            mask = context | (places[None, :] <= places[:, None])[None, None]
        if attention_mask is not None:
            mask = mask & attention_mask.bool()[:, None, None]
        for block in part.layers:
            states = block(states, mask)
        return BaseModelOutput(last_hidden_state=part.final_layernorm(states))


class GlmForMaskedLM(GlmPreTrained):
    """GLM with its output layer: the token table, transposed."""

    def __init__(self, config: GlmBlockConfig):
        super().__init__(config)
        self.glm = GlmModel(config)
        self.post_init()

    def logits(self, states: Tensor) -> Tensor:
        """[..., D] to [..., V]"""
        return F.linear(states, self.glm.word_embeddings.weight)

    def forward(self, **inputs: Any) -> Tensor:
        """Logits [N, T, V]."""
        return self.logits(self.glm(**inputs).last_hidden_state)


AutoConfig.register(GlmBlockConfig.model_type, GlmBlockConfig)
AutoModel.register(GlmBlockConfig, GlmModel)
AutoModelForMaskedLM.register(GlmBlockConfig, GlmForMaskedLM)
