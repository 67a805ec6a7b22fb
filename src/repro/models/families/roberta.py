"""RoBERTa: as BERT, but position ids start at padding index + 1 (so 512 of the table's 514 rows serve tokens)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from repro.models.families.bert import BERT
from repro.models.families.family import PositionModule, register

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


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
        constants={"type_vocab_size": 1},
        unused_positions=2,
        positions=positions,
        prepare=prepare,
        lm_head=lambda whole: whole.get_submodule("lm_head"),
        word_tokenizer_options={"add_prefix_space": True},
        token_types=False,
    ),
    __name__,
)
