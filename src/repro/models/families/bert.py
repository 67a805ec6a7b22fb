"""BERT: learned positions, pooler on [CLS]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.models.families.family import Family, PositionModule, register

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prepare(model: PreTrainedModel) -> list[str]:
    """The last layer can leave out positions that nobody reads."""
    from repro.models.attention.bert_layer import LastBertLayer

    list(model.get_submodule("encoder.layer").children())[-1].__class__ = LastBertLayer
    return []


BERT = Family(
    name="bert",
    title="BERT",
    kind="encoder",
    auto_class="AutoModel",
    config_class="transformers:BertConfig",
    stacks={"encoder": "encoder.layer"},
    attention={"encoder": "attention.self"},
    shape={
        "hidden_size": "width",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "intermediate_size": "feed_forward",
        "max_position_embeddings": "max_positions",
    },
    constants={"type_vocab_size": 2},
    positions=lambda model: [PositionModule(model.get_submodule("embeddings.position_embeddings"), "encoder", 0)],
    hidden_dropout=("hidden_dropout_prob",),
    attention_dropout=("attention_probs_dropout_prob",),
    prepare=prepare,
    trims=True,
    lm_head=lambda whole: whole.get_submodule("cls"),
    token_types=True,
    embeds_twice=True,
)
register(BERT, __name__)
