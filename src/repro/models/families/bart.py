"""BART: learned positions in encoder and decoder; three sites."""

from __future__ import annotations

from typing import Any

from torch import nn

from repro.models.families.family import Family, PositionModule, Sites


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


def functional_dropout(model: Any) -> dict[str, tuple[nn.Module, Any, str]]:
    """Behind the embeddings' norm, both attentions, the activation and the second linear layer of every block."""
    found: dict[str, tuple[nn.Module, Any, str]] = {}
    for stack in ("encoder", "decoder"):
        part = getattr(model.model, stack)
        found[f"{stack}.layernorm_embedding"] = (part.layernorm_embedding, part, "dropout")
        for number, layer in enumerate(part.layers):
            for name in ("self_attn", "encoder_attn", "fc2"):
                if hasattr(layer, name):
                    found[f"{stack}.layers.{number}.{name}"] = (getattr(layer, name), layer, "dropout")
            found[f"{stack}.layers.{number}.activation_fn"] = (layer.activation_fn, layer, "activation_dropout")
    return found


FAMILY = Family(
    name="bart",
    kind="encoder_decoder",
    auto_class="AutoModelForSeq2SeqLM",
    sites=sites,
    blocks=lambda model: {"encoder": list(model.model.encoder.layers), "decoder": list(model.model.decoder.layers)},
    positions=positions,
    hidden_dropout=("dropout", "activation_dropout"),
    attention_dropout=("attention_dropout",),
    functional_dropout=functional_dropout,
)
