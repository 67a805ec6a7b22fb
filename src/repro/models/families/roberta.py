"""RoBERTa: as BERT, but position ids start at padding index + 1 (so 512 of the table's 514 rows serve tokens)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from repro.models.families.bert import BERT
from repro.models.families.bert import random_shape as bert_shape
from repro.models.families.family import PositionModule, register

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from repro.config.schema import ModelConfig

UNUSED = 2
"""Rows of the position table that no token uses."""


def random_shape(model: ModelConfig) -> dict[str, object]:
    """As `RobertaConfig` names them."""
    assert model.max_positions is not None
    return bert_shape(model) | {"max_position_embeddings": model.max_positions + UNUSED, "type_vocab_size": 1}


def positions(model: nn.Module) -> list[PositionModule]:
    """The table, whose first rows no token uses."""
    from torch import nn

    table = model.get_submodule("embeddings.position_embeddings")
    assert isinstance(table, nn.Embedding) and table.padding_idx is not None
    return [PositionModule(table, "encoder", 0, first=table.padding_idx + 1)]


def prepare(model: PreTrainedModel) -> list[str]:
    """The last layer can leave out positions that nobody reads."""
    from repro.models.attention.bert_layer import LastRobertaLayer

    list(model.get_submodule("encoder.layer").children())[-1].__class__ = LastRobertaLayer
    return []


register(
    replace(
        BERT,
        name="roberta",
        title="RoBERTa",
        config_class="transformers:RobertaConfig",
        random_shape=random_shape,
        positions=positions,
        prepare=prepare,
        lm_head=lambda whole: whole.get_submodule("lm_head"),
        tokenizer_options={"add_prefix_space": True},
        token_types=False,
    )
)
