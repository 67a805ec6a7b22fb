"""BERT: learned positions, pooler on [CLS]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.models.families.family import Family, PositionModule, register

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from repro.config.schema import ModelConfig


def random_shape(model: ModelConfig) -> dict[str, object]:
    """As `BertConfig` names them."""
    return {
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": model.feed_forward,
        "max_position_embeddings": model.max_positions,
        "type_vocab_size": 2,
    }


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
    random_shape=random_shape,
    positions=lambda model: [PositionModule(model.get_submodule("embeddings.position_embeddings"), "encoder", 0)],
    hidden_dropout=("hidden_dropout_prob",),
    attention_dropout=("attention_probs_dropout_prob",),
    prepare=prepare,
    trims=True,
    lm_head=lambda whole: whole.get_submodule("cls"),
    token_types=True,
    embeds_twice=True,
)
register(BERT)
