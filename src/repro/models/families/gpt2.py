"""GPT-2: learned positions, causal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.models.families.family import Family, PositionModule, register

if TYPE_CHECKING:
    from repro.config.schema import ModelConfig


def random_shape(model: ModelConfig) -> dict[str, object]:
    """As `GPT2Config` names them."""
    return {
        "n_embd": model.width,
        "n_layer": model.layers,
        "n_head": model.heads,
        "n_inner": model.feed_forward,
        "n_positions": model.max_positions,
    }


register(
    Family(
        name="gpt2",
        title="GPT-2",
        kind="decoder",
        auto_class="AutoModelForCausalLM",
        config_class="transformers:GPT2Config",
        stacks={"decoder": "transformer.h"},
        attention={"decoder": "attn"},
        random_shape=random_shape,
        final_norms=("transformer.ln_f",),
        positions=lambda model: [PositionModule(model.get_submodule("transformer.wpe"), "decoder", 0)],
        hidden_dropout=("resid_pdrop", "embd_pdrop"),
        attention_dropout=("attn_pdrop",),
        transposed_weights=True,
    )
)
