"""T5 and its relatives (v1.1, LM-adapted, mT5): relative positions, so nothing shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from repro.models.families.family import Family, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel
    from transformers.models.t5.modeling_t5 import T5Attention

    from repro.config.schema import ModelConfig
    from repro.models.attention.packing import Packed


def prepare(model: PreTrainedModel) -> list[str]:
    """Attention that can read packed sequences."""
    from repro.models.attention.t5_attention import PackedT5Attention

    for modules in T5.sites(model).values():
        for module in modules:
            module.__class__ = PackedT5Attention
    return []


def separate_head(model: PreTrainedModel, facts: ModelConfig) -> None:
    """transformers 5 ties the head to the embeddings whenever a model is built from a config; T5 1.1 has its own."""
    import torch

    if not facts.tied_head:
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight).normal_(std=facts.width**-0.5))
        model.config.scale_decoder_outputs = False


def head_problem(model: PreTrainedModel, facts: ModelConfig) -> str | None:
    """T5 1.1 has a head of its own."""
    head, table = (next(part.parameters()) for part in (model.get_output_embeddings(), model.get_input_embeddings()))
    tied = head.data_ptr() == table.data_ptr()
    if not facts.tied_head and (tied or model.config.scale_decoder_outputs):
        return (
            "T5 1.1 must keep its own lm_head and unscaled decoder outputs; this version of transformers loads it "
            "otherwise. Use transformers>=5.1."
        )
    return None


def _attention(module: nn.Module) -> T5Attention:
    from transformers.models.t5.modeling_t5 import T5Attention

    assert isinstance(module, T5Attention)
    return module


def bias(model: nn.Module) -> Mapping[str, Callable[[int, torch.dtype], Tensor]]:
    """The first block's table serves its stack."""
    from repro.models.attention.t5_attention import relative_bias

    return {site: relative_bias(_attention(T5.sites(model)[site][0])) for site in ("encoder", "decoder")}


def absorbs(module: nn.Module, queries: Packed, keys: Packed) -> bool:
    """As `t5_attention.absorbs`."""
    from repro.models.attention.t5_attention import absorbs

    return absorbs(_attention(module), queries, keys)


T5 = Family(
    name="t5",
    title="T5",
    kind="encoder_decoder",
    auto_class="AutoModelForSeq2SeqLM",
    config_class="transformers:T5Config",
    stacks={"encoder": "encoder.block", "decoder": "decoder.block"},
    attention={
        "encoder": "layer.0.SelfAttention",
        "decoder": "layer.0.SelfAttention",
        "cross": "layer.1.EncDecAttention",
    },
    shape={
        "d_model": "width",
        "d_kv": "head_dim",
        "d_ff": "feed_forward",
        "num_layers": "layers",
        "num_decoder_layers": "decoder_layers",
        "num_heads": "heads",
        "tie_word_embeddings": "tied_head",
    },
    constants={"feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0},
    final_norms=("decoder.final_layer_norm",),
    hidden_dropout=("dropout_rate",),
    attention_dropout=("dropout_rate",),
    prepare=prepare,
    finish_random=separate_head,
    check=head_problem,
    bias=bias,
    absorbs=absorbs,
    biases=False,
    sentinels=True,
)
register(T5, __name__)
