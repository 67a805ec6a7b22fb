"""GPT-2: learned positions, causal."""

from __future__ import annotations

from typing import Any

from repro.models.families.family import Family, PositionModule, Sites


def sites(model: Any) -> Sites:
    """Causal self-attention."""
    return {"decoder": [block.attn for block in model.transformer.h]}


FAMILY = Family(
    name="gpt2",
    kind="decoder",
    auto_class="AutoModelForCausalLM",
    sites=sites,
    blocks=lambda model: {"decoder": list(model.transformer.h)},
    final_norms=lambda model: [model.transformer.ln_f],
    positions=lambda model: [PositionModule(model.transformer.wpe, "decoder", 0)],
    hidden_dropout=("resid_pdrop", "embd_pdrop"),
    attention_dropout=("attn_pdrop",),
)
