"""DeBERTa: relative positions and an attention of its own (`attention.deberta`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.models.families.family import Family, register

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prepare(model: PreTrainedModel) -> list[str]:
    """Attention that takes prefixes, and a pooler."""
    from repro.models.attention.deberta import PrefixSelfAttention, prepared

    return prepared(model, DEBERTA.sites(model)["encoder"], PrefixSelfAttention)


DEBERTA = Family(
    name="deberta",
    title="DeBERTa",
    kind="encoder",
    auto_class="AutoModel",
    config_class="transformers:DebertaConfig",
    stacks={"encoder": "encoder.layer"},
    attention={"encoder": "attention.self"},
    shape={
        "hidden_size": "width",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "intermediate_size": "feed_forward",
        "max_position_embeddings": "max_positions",
    },
    constants={
        "type_vocab_size": 0,
        "relative_attention": True,
        "max_relative_positions": -1,
        "pos_att_type": ["c2p", "p2c"],
        "position_biased_input": False,
    },
    default_positions=512,
    hidden_dropout=("hidden_dropout_prob",),
    attention_dropout=("attention_probs_dropout_prob",),
    shared_dropout=True,
    packs=False,
    prepare=prepare,
    word_tokenizer_options={"add_prefix_space": True},
)
register(DEBERTA, __name__)
