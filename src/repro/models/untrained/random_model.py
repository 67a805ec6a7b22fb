"""Models with random weights at any shape, and a tokenizer of bytes: for tests and measurements, never for results."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from repro.config.schema import ModelConfig
from repro.models.families.family import Family

CPU = torch.device("cpu")
SPECIAL = ("<pad>", "</s>", "<unk>", "<s>", "[CLS]", "[SEP]")


def byte_tokenizer(kind: str, token_types: bool = False) -> PreTrainedTokenizerBase:
    """One token a byte after six special ones (262 in all); an encoder adds [CLS] and [SEP], others end in </s>.

    The mask token is <unk>, which no byte is; an encoder-decoder has <extra_id_0>, T5's first sentinel, for [CLS].
    """
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<extra_id_0>" if token == "[CLS]" and kind == "encoder_decoder" else token for token in SPECIAL]
    vocabulary = {token: index for index, token in enumerate((*special, *alphabet))}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    single, pair, names = {
        "encoder": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ("[CLS]", "[SEP]")),
        "encoder_decoder": ("$A </s>", "$A </s> $B </s>", ("</s>",)),
        "decoder": ("$A", "$A $B", ("</s>",)),
    }[kind]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(name, vocabulary[name]) for name in names]
    )
    names_kept = ["input_ids", "attention_mask"] + (["token_type_ids"] if token_types else [])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>",
        cls_token=special[4], sep_token="[SEP]", mask_token="<unk>", model_input_names=names_kept,
    )  # fmt: skip


def transformers_config(model: ModelConfig, kind: Family, dropouts: Mapping[str, float]) -> PretrainedConfig:
    """The family's transformers config at the shapes of `conf/model`."""
    shared = {"vocab_size": model.vocabulary, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3, **dropouts}
    return kind.configuration()(**kind.random_shape(model), **shared)


def build(
    model: ModelConfig,
    kind: Family,
    dtype: torch.dtype,
    dropouts: Mapping[str, float],
    auto_class: str | None = None,
) -> PreTrainedModel:
    """The family's model at these shapes, on the default device (`torch.device("meta")` to count)."""
    auto = getattr(transformers, auto_class or kind.auto_class)
    made: PreTrainedModel = auto.from_config(transformers_config(model, kind, dropouts), dtype=dtype)
    kind.finish_random(made, model)
    return made


def random_model(
    model: ModelConfig,
    kind: Family,
    dtype: torch.dtype,
    dropouts: Mapping[str, float],
    auto_class: str | None = None,
    device: torch.device = CPU,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Weights drawn with a fixed seed (the global generators are left as they were), and the byte tokenizer.

    Args:
        device: where they are drawn: a large model in half precision never is on the host.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        made = build(model, kind, dtype, dropouts, auto_class)
    return made, byte_tokenizer(kind.kind, token_types=kind.token_types)
