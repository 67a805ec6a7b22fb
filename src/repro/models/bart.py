"""BART: learned positions in encoder and decoder; three sites."""

from __future__ import annotations

from typing import Any

from repro.models.families import Family, PositionModule, Sites


def sites(model: Any) -> Sites:
    """Encoder self-attention, decoder self-attention, cross-attention."""
    encoder, decoder = model.model.encoder.layers, model.model.decoder.layers
    return {
        "encoder": [layer.self_attn for layer in encoder],
        "decoder": [layer.self_attn for layer in decoder],
        "cross": [layer.encoder_attn for layer in decoder],
    }


def positions(model: Any) -> list[PositionModule]:
    """The encoder's table counts by itself, the decoder's is given its ids."""
    return [
        PositionModule(model.model.encoder.embed_positions, "encoder", "position_ids", offset=2),
        PositionModule(model.model.decoder.embed_positions, "decoder", "position_ids", offset=2),
    ]


FAMILY = Family(
    name="bart",
    kind="encoder_decoder",
    auto_class="AutoModelForSeq2SeqLM",
    sites=sites,
    blocks=lambda model: {"encoder": list(model.model.encoder.layers), "decoder": list(model.model.decoder.layers)},
    positions=positions,
    hidden_dropout=("dropout", "activation_dropout"),
    attention_dropout=("attention_dropout",),
)
