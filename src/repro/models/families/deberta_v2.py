"""DeBERTa v2 and v3: as `deberta`, with relative positions in buckets and shared projections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from repro.models.families.deberta import DEBERTA
from repro.models.families.family import register

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prepare(model: PreTrainedModel) -> list[str]:
    """Attention that takes prefixes, and a pooler."""
    from repro.models.attention.deberta import prepared
    from repro.models.attention.deberta_v2 import PrefixSelfAttentionV2

    return prepared(model, DEBERTA.sites(model)["encoder"], PrefixSelfAttentionV2)


register(
    replace(
        DEBERTA,
        name="deberta_v2",
        title="DeBERTa v2",
        config_class="transformers:DebertaV2Config",
        constants={
            **DEBERTA.constants,
            "position_buckets": 256,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "conv_kernel_size": 3,
        },
        prepare=prepare,
    ),
    __name__,
)
