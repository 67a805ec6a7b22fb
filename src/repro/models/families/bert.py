"""BERT: learned positions, pooler on [CLS]."""

from __future__ import annotations

from typing import Any

from repro.models.attention.bert_layer import LastBertLayer, prepared
from repro.models.families.family import Family, PositionModule, Sites


def sites(model: Any) -> Sites:
    """Bidirectional self-attention."""
    return {"encoder": [layer.attention.self for layer in model.encoder.layer]}


FAMILY = Family(
    name="bert",
    kind="encoder",
    auto_class="AutoModel",
    sites=sites,
    blocks=lambda model: {"encoder": list(model.encoder.layer)},
    positions=lambda model: [PositionModule(model.embeddings.position_embeddings, "encoder", 0)],
    hidden_dropout=("hidden_dropout_prob",),
    attention_dropout=("attention_probs_dropout_prob",),
    prepare=prepared(LastBertLayer),
    trims=True,
    lm_head=lambda whole: whole.cls,
)
