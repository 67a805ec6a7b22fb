"""Models with random weights at any shape, and a tokenizer of bytes: for tests and measurements, never for results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from repro.models.families.family import Family

CPU = torch.device("cpu")
SPECIAL = ("<pad>", "</s>", "<unk>", "<s>", "[CLS]", "[SEP]")


def byte_tokenizer(kind: str, token_types: bool = False) -> Any:
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


def transformers_config(model: Mapping[str, Any], kind: Family, dropouts: Mapping[str, float]) -> Any:
    """The family's transformers config at the shapes of `conf/model`."""
    import transformers

    layers, width, heads, inner = model["layers"], model["width"], model["heads"], model["feed_forward"]
    shared = {"vocab_size": model["vocabulary"], "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3, **dropouts}
    if kind.name == "t5":
        return transformers.T5Config(  # type: ignore[call-arg]
            d_model=width, d_kv=model["head_dim"], d_ff=inner, num_layers=layers,
            num_decoder_layers=model.get("decoder_layers") or layers, num_heads=heads,
            feed_forward_proj=model.get("feed_forward_proj", "gated-gelu"),
            tie_word_embeddings=model["tied_head"], decoder_start_token_id=0, **shared,
        )  # fmt: skip
    if kind.name == "bart":
        return transformers.BartConfig(
            d_model=width, encoder_layers=layers, decoder_layers=model.get("decoder_layers") or layers,
            encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=inner, decoder_ffn_dim=inner,
            max_position_embeddings=model["max_positions"], decoder_start_token_id=1, **shared,
        )  # fmt: skip
    if kind.name == "gpt2":
        return transformers.GPT2Config(
            n_embd=width, n_layer=layers, n_head=heads, n_inner=inner, n_positions=model["max_positions"], **shared
        )
    if kind.name == "llama":
        return transformers.LlamaConfig(
            hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
            num_key_value_heads=model.get("kv_heads") or heads, head_dim=model["head_dim"],
            max_position_embeddings=model["max_positions"] or 2048, tie_word_embeddings=model["tied_head"], **shared,
        )  # fmt: skip
    if kind.name == "glm":
        from repro.models.families.glm import GlmBlockConfig

        return GlmBlockConfig(
            hidden_size=width, num_layers=layers, num_attention_heads=heads,
            max_sequence_length=model["max_positions"], **shared,
        )  # fmt: skip
    if kind.name in ("deberta", "deberta_v2"):
        second: dict[str, Any] = {
            "position_buckets": 256,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "conv_kernel_size": 3,
        }
        first = kind.name == "deberta"
        of_version = transformers.DebertaConfig if first else transformers.DebertaV2Config
        return of_version(
            hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
            max_position_embeddings=model["max_positions"] or 512, type_vocab_size=0, relative_attention=True,
            max_relative_positions=-1, pos_att_type=["c2p", "p2c"], position_biased_input=False,
            **({} if first else second), **shared,
        )  # fmt: skip
    made = transformers.RobertaConfig if kind.name == "roberta" else transformers.BertConfig
    extra = 2 if kind.name == "roberta" else 0  # RoBERTa's table has two rows that tokens never use
    return made(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
        max_position_embeddings=model["max_positions"] + extra, type_vocab_size=1 if extra else 2, **shared,
    )  # fmt: skip


def build(
    model: Mapping[str, Any],
    kind: Family,
    dtype: torch.dtype,
    dropouts: Mapping[str, float],
    auto_class: str | None = None,
) -> Any:
    """The family's model at these shapes, on the default device (`torch.device("meta")` to count)."""
    import transformers

    auto = getattr(transformers, auto_class or kind.auto_class)
    made = auto.from_config(transformers_config(model, kind, dropouts), dtype=dtype)
    if kind.name == "t5" and not model["tied_head"]:
        # transformers 5 ties T5's head to its embeddings whenever a model is built from a config.
        head = made.get_output_embeddings()
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight).normal_(std=model["width"] ** -0.5))
        made.config.scale_decoder_outputs = False
    return made


def random_model(
    model: Mapping[str, Any],
    kind: Family,
    dtype: torch.dtype,
    dropouts: Mapping[str, float],
    auto_class: str | None = None,
    device: torch.device = CPU,
) -> tuple[Any, Any]:
    """Weights drawn with a fixed seed (the global generators are left as they were), and the byte tokenizer.

    Args:
        device: where they are drawn: a large model in half precision never is on the host.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        made = build(model, kind, dtype, dropouts, auto_class)
    return made, byte_tokenizer(kind.kind, token_types=kind.name == "bert")
