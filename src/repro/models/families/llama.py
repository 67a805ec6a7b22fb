"""Llama-type decoders (Llama, SmolLM2, Qwen2, Qwen3, Mistral): rotary positions, grouped key/value heads."""

from __future__ import annotations

from typing import Any

from repro.models.families.family import Family, PositionModule, Sites


def sites(model: Any) -> Sites:
    """Causal self-attention."""
    return {"decoder": [layer.self_attn for layer in model.model.layers]}


FAMILY = Family(
    name="llama",
    kind="decoder",
    auto_class="AutoModelForCausalLM",
    sites=sites,
    blocks=lambda model: {"decoder": list(model.model.layers)},
    final_norms=lambda model: [model.model.norm],
    positions=lambda model: [PositionModule(model.model.rotary_emb, "decoder", "position_ids")],
    hidden_dropout=(),
    attention_dropout=("attention_dropout",),
)
