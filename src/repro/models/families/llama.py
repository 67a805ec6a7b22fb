"""Llama-type decoders (Llama, SmolLM2, Qwen2, Qwen3, Mistral): rotary positions, grouped key/value heads."""

from __future__ import annotations

from repro.models.families.family import Family, PositionModule, register

register(
    Family(
        name="llama",
        title="Llama",
        kind="decoder",
        auto_class="AutoModelForCausalLM",
        config_class="transformers:LlamaConfig",
        stacks={"decoder": "model.layers"},
        attention={"decoder": "self_attn"},
        shape={
            "hidden_size": "width",
            "num_hidden_layers": "layers",
            "num_attention_heads": "heads",
            "intermediate_size": "feed_forward",
            "num_key_value_heads": "kv_heads",
            "head_dim": "head_dim",
            "max_position_embeddings": "max_positions",
            "tie_word_embeddings": "tied_head",
        },
        default_positions=2048,
        final_norms=("model.norm",),
        positions=lambda model: [PositionModule(model.get_submodule("model.rotary_emb"), "decoder", "position_ids")],
        hidden_dropout=(),
        attention_dropout=("attention_dropout",),
    ),
    __name__,
)
