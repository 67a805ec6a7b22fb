"""BART: learned positions in encoder and decoder; three sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.models.families.family import Family, FunctionalDropout, PositionModule, register

if TYPE_CHECKING:
    from torch import nn


STACKS = {"encoder": "model.encoder.layers", "decoder": "model.decoder.layers"}


def positions(model: nn.Module) -> list[PositionModule]:
    """The encoder's table counts by itself, the decoder's is given its ids."""
    tables = {stack: model.get_submodule(f"model.{stack}.embed_positions") for stack in STACKS}
    return [PositionModule(table, stack, "position_ids", offset=2) for stack, table in tables.items()]


def functional_dropout(model: nn.Module) -> dict[str, FunctionalDropout]:
    """Behind the embeddings' norm, both attentions, the activation and the second linear layer of every block."""
    found: dict[str, FunctionalDropout] = {}
    for stack, path in STACKS.items():
        part = model.get_submodule(f"model.{stack}")
        found[f"{stack}.layernorm_embedding"] = FunctionalDropout(
            part.get_submodule("layernorm_embedding"), part, "dropout"
        )
        for number, block in enumerate(model.get_submodule(path).children()):
            parts = dict(block.named_children())
            for name in ("self_attn", "encoder_attn", "fc2"):
                if name in parts:
                    found[f"{stack}.layers.{number}.{name}"] = FunctionalDropout(parts[name], block, "dropout")
            activation = FunctionalDropout(parts["activation_fn"], block, "activation_dropout")
            found[f"{stack}.layers.{number}.activation_fn"] = activation
    return found


register(
    Family(
        name="bart",
        title="BART",
        kind="encoder_decoder",
        auto_class="AutoModelForSeq2SeqLM",
        config_class="transformers:BartConfig",
        stacks=STACKS,
        attention={"encoder": "self_attn", "decoder": "self_attn", "cross": "encoder_attn"},
        shape={
            "d_model": "width",
            "encoder_layers": "layers",
            "decoder_layers": "decoder_layers",
            "encoder_attention_heads": "heads",
            "decoder_attention_heads": "heads",
            "encoder_ffn_dim": "feed_forward",
            "decoder_ffn_dim": "feed_forward",
            "max_position_embeddings": "max_positions",
        },
        constants={"decoder_start_token_id": 1},
        positions=positions,
        hidden_dropout=("dropout", "activation_dropout"),
        attention_dropout=("attention_dropout",),
        functional_dropout=functional_dropout,
    ),
    __name__,
)
