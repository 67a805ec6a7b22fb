"""Llama-type decoders (Llama, SmolLM2, Qwen2, Qwen3, Mistral): rotary positions, grouped key/value heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.models.families.family import Family, PositionModule, register

if TYPE_CHECKING:
    from repro.config.schema import ModelConfig


def random_shape(model: ModelConfig) -> dict[str, object]:
    """As `LlamaConfig` names them."""
    return {
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": model.feed_forward,
        "num_key_value_heads": model.kv_heads or model.heads,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.max_positions or 2048,
        "tie_word_embeddings": model.tied_head,
    }


register(
    Family(
        name="llama",
        title="Llama",
        kind="decoder",
        auto_class="AutoModelForCausalLM",
        config_class="transformers:LlamaConfig",
        stacks={"decoder": "model.layers"},
        attention={"decoder": "self_attn"},
        random_shape=random_shape,
        final_norms=("model.norm",),
        positions=lambda model: [PositionModule(model.get_submodule("model.rotary_emb"), "decoder", "position_ids")],
        hidden_dropout=(),
        attention_dropout=("attention_dropout",),
    )
)
