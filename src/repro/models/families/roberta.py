"""RoBERTa: as BERT, but position ids start at padding index + 1 (so 512 of the table's 514 rows serve tokens)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from repro.models.attention.bert_layer import LastRobertaLayer, prepared
from repro.models.families.bert import FAMILY as BERT
from repro.models.families.family import PositionModule


def positions(model: Any) -> list[PositionModule]:
    """The table, whose first rows no token uses."""
    embeddings = model.embeddings
    return [PositionModule(embeddings.position_embeddings, "encoder", 0, first=embeddings.padding_idx + 1)]


FAMILY = replace(
    BERT,
    name="roberta",
    positions=positions,
    prepare=prepared(LastRobertaLayer),
    lm_head=lambda whole: whole.lm_head,
)
