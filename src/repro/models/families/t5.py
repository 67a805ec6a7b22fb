"""T5 and its relatives (v1.1, LM-adapted, mT5): relative positions, so nothing shifts."""

from __future__ import annotations

from typing import Any

from repro.models.attention.t5_attention import PackedT5Attention, absorbs, relative_bias
from repro.models.families.family import Family, Sites


def sites(model: Any) -> Sites:
    """Encoder self-attention, decoder self-attention, cross-attention."""
    decoder = model.decoder.block
    return {
        "encoder": [block.layer[0].SelfAttention for block in model.encoder.block],
        "decoder": [block.layer[0].SelfAttention for block in decoder],
        "cross": [block.layer[1].EncDecAttention for block in decoder],
    }


def prepare(model: Any) -> list[str]:
    """Attention that can read packed sequences."""
    for modules in sites(model).values():
        for module in modules:
            module.__class__ = PackedT5Attention
    return []


FAMILY = Family(
    name="t5",
    kind="encoder_decoder",
    auto_class="AutoModelForSeq2SeqLM",
    sites=sites,
    blocks=lambda model: {"encoder": list(model.encoder.block), "decoder": list(model.decoder.block)},
    final_norms=lambda model: [model.decoder.final_layer_norm],
    positions=lambda model: [],
    hidden_dropout=("dropout_rate",),
    attention_dropout=("dropout_rate",),
    prepare=prepare,
    bias=lambda model: {site: relative_bias(sites(model)[site][0]) for site in ("encoder", "decoder")},
    absorbs=absorbs,
)
