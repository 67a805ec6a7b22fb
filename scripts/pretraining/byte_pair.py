"""One byte-pair vocabulary learnt from text, and a family's tokenizer around it.

The mini models share their merges; what differs is the family's special tokens, which stand in front. An encoder's
pieces never depend on what stands before a word, as BERT's: punctuation is a piece of its own wherever it stands, so
that a list of words (tagging) and running text become the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

SENTINELS = 32
"""T5's `<extra_id_0>` and so on: more than 256 tokens at 15 % in spans of 3 ever need."""
SPECIAL: dict[str, tuple[str, ...]] = {
    "t5": ("<pad>", "</s>", "<unk>", *(f"<extra_id_{number}>" for number in range(SENTINELS))),
    "gpt2": ("<|endoftext|>",),
    "bart": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
}
"""Special tokens of each family, in the order of their ids, which start at 0."""
_NAMES: dict[str, dict[str, str]] = {
    "t5": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    "gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
    "bart": {
        **{"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>"},
        **{"unk_token": "<unk>", "mask_token": "<mask>"},
    },
    "bert": {
        **{"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
        "mask_token": "[MASK]",
    },
}
_FORMS: dict[str, tuple[str, str]] = {
    "t5": ("$A </s>", "$A </s> $B </s>"),
    "gpt2": ("$A", "$A $B"),
    "bart": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
}


def _pieces(family: str) -> Any:
    """Text to words in bytes, each with the space in front of it; a word at the very beginning gets one too."""
    from tokenizers import pre_tokenizers

    if family != "bert":
        return pre_tokenizers.ByteLevel(add_prefix_space=True)
    return pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )


def learnt_pairs(texts: Iterable[str], size: int, family: str) -> dict[str, Any]:
    """{"vocab": {piece: id}, "merges": [[left, right], ...]} of `size` pieces, the 256 bytes among them."""
    from tokenizers import Tokenizer, pre_tokenizers, trainers
    from tokenizers.models import BPE

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = _pieces(family)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)  # type: ignore[call-arg]
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": model["merges"]}


def family_tokenizer(pairs: dict[str, Any], family: str, longest: int) -> Any:
    """The tokenizer of a family: special tokens first, then the learnt pieces in their order.

    Offsets leave out the space in front of a word, so that an answer found by them starts with its first letter.

    Args:
        longest: the most tokens that the model reads (`model_max_length`).
    """
    from tokenizers import AddedToken, Tokenizer, decoders, processors
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    special = SPECIAL[family]
    vocabulary = {token: id for id, token in enumerate(special)}
    vocabulary |= {piece: id + len(special) for piece, id in pairs["vocab"].items()}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[(left, right) for left, right in pairs["merges"]]))
    tokenizer.pre_tokenizer = _pieces(family)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    single, pair = _FORMS[family]
    used = [(token, vocabulary[token]) for token in special if token in pair]
    form = processors.TemplateProcessing(single=single, pair=pair, special_tokens=used)
    # A space that was never in the text (BERT's) takes no room in the offsets: trimming would cut off a letter.
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=family != "bert"), form])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    types = ["token_type_ids"] if family == "bert" else []
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=[token for token in special if token.startswith("<extra_id_")],
        model_max_length=longest,
        model_input_names=["input_ids", *types, "attention_mask"],
        **_NAMES[family],
    )
