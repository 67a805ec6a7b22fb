"""GLM (blocklm): the port in `repro.models.glm`, read as an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from repro.models.families.family import Family, PeftTargets, PositionModule, register

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def lm_head(whole: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """The token table, transposed."""
    from repro.models.glm import GlmForMaskedLM

    assert isinstance(whole, GlmForMaskedLM)
    return whole.logits


register(
    Family(
        name="glm",
        title="GLM",
        kind="encoder",
        auto_class="AutoModel",
        config_class="repro.models.glm:GlmBlockConfig",
        stacks={"encoder": "transformer.layers"},
        attention={"encoder": "attention"},
        shape={
            "hidden_size": "width",
            "num_layers": "layers",
            "num_attention_heads": "heads",
            "max_sequence_length": "max_positions",
        },
        positions=lambda model: [PositionModule(model.get_submodule("transformer.position_embeddings"), "encoder", 0)],
        hidden_dropout=("embedding_dropout_prob", "output_dropout_prob"),
        attention_dropout=("attention_dropout_prob",),
        packs=False,
        final_norms=("transformer.final_layernorm",),
        prepare=lambda model: [
            "GLM reads its input as an encoder does, with [CLS] first; the paper does not say how its did"
        ],
        lm_head=lm_head,
        peft_targets=PeftTargets(("query_key_value",), ("query_key_value", "dense_4h_to_h"), ("dense_4h_to_h",)),
    ),
    __name__,
)
