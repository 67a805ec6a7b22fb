"""GPT-2: learned positions, causal."""

from __future__ import annotations

from repro.models.families.family import Family, PositionModule, register

register(
    Family(
        name="gpt2",
        title="GPT-2",
        kind="decoder",
        auto_class="AutoModelForCausalLM",
        config_class="transformers:GPT2Config",
        stacks={"decoder": "transformer.h"},
        attention={"decoder": "attn"},
        shape={
            "n_embd": "width",
            "n_layer": "layers",
            "n_head": "heads",
            "n_inner": "feed_forward",
            "n_positions": "max_positions",
        },
        final_norms=("transformer.ln_f",),
        positions=lambda model: [PositionModule(model.get_submodule("transformer.wpe"), "decoder", 0)],
        hidden_dropout=("resid_pdrop", "embd_pdrop"),
        attention_dropout=("attn_pdrop",),
        transposed_weights=True,
    ),
    __name__,
)
