"""One byte-pair vocabulary learnt from text, and a family's tokenizer around it.

The mini models share their merges; what differs is the family's special tokens, which stand in front. An encoder's
pieces never depend on what stands before a word, as BERT's: punctuation is a piece of its own wherever it stands, so
that a list of words (tagging) and running text become the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from repro.models.families.family import family

SENTINELS = 32
"""T5's `<extra_id_0>` and so on: more than 256 tokens at 15 % in spans of 3 ever need."""


@dataclass(frozen=True)
class TokenizerFacts:
    """How a family's tokenizer differs from others."""

    special: tuple[str, ...]
    """In the order of their ids, which start at 0."""
    names: Mapping[str, str]
    """transformers' names of them."""
    single: str
    """Template of one text."""
    pair: str
    """Template of two texts."""
    encoder: bool = False
    """A piece never depends on what stands before a word, and the second text has another type."""


TOKENIZERS: dict[str, TokenizerFacts] = {
    "t5": TokenizerFacts(
        ("<pad>", "</s>", "<unk>", *(f"<extra_id_{number}>" for number in range(SENTINELS))),
        {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
        "$A </s>",
        "$A </s> $B </s>",
    ),
    "gpt2": TokenizerFacts(
        ("<|endoftext|>",),
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
        "$A",
        "$A $B",
    ),
    "bart": TokenizerFacts(
        ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        {
            **{"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>"},
            **{"unk_token": "<unk>", "mask_token": "<mask>"},
        },
        "<s> $A </s>",
        "<s> $A </s> </s> $B </s>",
    ),
    "bert": TokenizerFacts(
        ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        {
            **{"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
            "mask_token": "[MASK]",
        },
        "[CLS] $A [SEP]",
        "[CLS] $A [SEP] $B:1 [SEP]:1",
        encoder=True,
    ),
}
_OF_KIND = {"encoder": "bert", "decoder": "gpt2", "encoder_decoder": "t5"}


def tokenizer_facts(name: str) -> TokenizerFacts:
    """Those of a family; one without facts of its own has those of the first family of its kind."""
    return TOKENIZERS.get(name) or TOKENIZERS[_OF_KIND[family(name).kind]]


def _pieces(facts: TokenizerFacts) -> Any:
    """Text to words in bytes, each with the space in front of it; a word at the very beginning gets one too."""
    from tokenizers import pre_tokenizers

    if not facts.encoder:
        return pre_tokenizers.ByteLevel(add_prefix_space=True)
    return pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )


def learnt_pairs(texts: Iterable[str], size: int, name: str) -> dict[str, Any]:
    """{"vocab": {piece: id}, "merges": [[left, right], ...]} of `size` pieces, the 256 bytes among them."""
    from tokenizers import Tokenizer, pre_tokenizers, trainers
    from tokenizers.models import BPE

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = _pieces(tokenizer_facts(name))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)  # type: ignore[call-arg]
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": model["merges"]}


def family_tokenizer(pairs: dict[str, Any], name: str, longest: int) -> Any:
    """The tokenizer of a family: special tokens first, then the learnt pieces in their order.

    Offsets leave out the space in front of a word, so that an answer found by them starts with its first letter.

    Args:
        longest: the most tokens that the model reads (`model_max_length`).
    """
    from tokenizers import AddedToken, Tokenizer, decoders, processors
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    facts = tokenizer_facts(name)
    special = facts.special
    vocabulary = {token: id for id, token in enumerate(special)}
    vocabulary |= {piece: id + len(special) for piece, id in pairs["vocab"].items()}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[(left, right) for left, right in pairs["merges"]]))
    tokenizer.pre_tokenizer = _pieces(facts)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    used = [(token, vocabulary[token]) for token in special if token in facts.pair]
    form = processors.TemplateProcessing(single=facts.single, pair=facts.pair, special_tokens=used)
    # A space that was never in the text (BERT's) takes no room in the offsets: trimming would cut off a letter.
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=not facts.encoder), form])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    types = ["token_type_ids"] if facts.encoder else []
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=[token for token in special if token.startswith("<extra_id_")],
        model_max_length=longest,
        model_input_names=["input_ids", *types, "attention_mask"],
        **facts.names,
    )
