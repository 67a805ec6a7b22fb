"""A rendered example as token ids, for each kind of model: truncation, special tokens, label alignment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from repro.models.batch import IGNORE, Encoded
from repro.models.span_encoding import SpanOptions, encode_span
from repro.tasks.base import Choice, Pair, Rendered, Span, Tagged, TextToText

Encode = Callable[[Rendered, bool], list[Encoded]]
"""(rendered example, training?) -> one sequence, or one a choice or window. A decoder's training one has the target."""


def encode_pair(tokenizer: Any, first: str, second: str | None, label: int, max_length: int) -> Encoded:
    """`[CLS] first [SEP] second [SEP]`, cut longest-first at `max_length` tokens (P-Tuning v2's `truncation=True`)."""
    full = tokenizer(first, second, truncation=True, max_length=max_length, return_overflowing_tokens=False)
    ids = full["input_ids"]
    return Encoded(
        ids=tuple(ids),
        source_length=len(ids),
        token_types=tuple(full["token_type_ids"]) if "token_type_ids" in full else None,
        label=label,
        truncated=len(ids) >= max_length and len(tokenizer(first, second)["input_ids"]) > max_length,
    )


def encode_tagged(tokenizer: Any, example: Tagged, max_length: int) -> Encoded:
    """A word's first sub-token carries its tag, the others IGNORE (papers/liu2022 section (c))."""
    full = tokenizer(list(example.words), is_split_into_words=True, truncation=True, max_length=max_length)
    ids, words = full["input_ids"], full.word_ids()
    labels, starts = [IGNORE] * len(ids), {}
    for index, word in enumerate(words):
        if word is not None and word not in starts:
            starts[word] = index
            labels[index] = example.tags[word]
    missing = [word for word in range(len(example.words)) if word not in starts]
    # A word that the tokenizer drops altogether (a lone control character, say) has no sub-token: it keeps its place by
    # pointing at [CLS], whose prediction is then taken for it; words cut off at the end are left out.
    last = max(starts, default=-1)
    positions = [starts.get(word, 0) for word in range(last + 1)]
    return Encoded(
        ids=tuple(ids),
        source_length=len(ids),
        token_types=tuple(full["token_type_ids"]) if "token_type_ids" in full else None,
        token_labels=tuple(labels),
        word_starts=tuple(positions),
        truncated=any(word > last for word in missing),
    )


def encoder_encoding(tokenizer: Any, max_input: int, spans: SpanOptions | None = None) -> Encode:
    """For models with a head: pair, choice, tagging and span forms."""
    stride = (spans or SpanOptions()).stride

    def encode(rendered: Rendered, training: bool) -> list[Encoded]:
        if isinstance(rendered, Pair):
            return [encode_pair(tokenizer, rendered.first, rendered.second, rendered.label, max_input)]
        if isinstance(rendered, Choice):
            return [
                encode_pair(tokenizer, first, second, rendered.label, max_input) for first, second in rendered.pairs
            ]
        if isinstance(rendered, Span):
            return encode_span(tokenizer, rendered, max_input, stride, training)
        assert isinstance(rendered, Tagged)
        return [encode_tagged(tokenizer, rendered, max_input)]

    return encode


def encoder_decoder_encoding(tokenizer: Any, max_input: int, max_target: int) -> Encode:
    """Source and target apart, each closed by an end of sequence after truncation (papers/lester2021 section (c))."""

    def encode(rendered: Rendered, training: bool) -> list[Encoded]:
        assert isinstance(rendered, TextToText)
        source = tokenizer(rendered.source, truncation=True, max_length=max_input)["input_ids"]
        target = tokenizer(text_target=rendered.target, truncation=True, max_length=max_target)["input_ids"]
        cut = len(source) >= max_input and len(tokenizer(rendered.source)["input_ids"]) > max_input
        return [Encoded(tuple(source), len(source), target_ids=tuple(target), truncated=cut)]

    return encode


def decoder_encoding(tokenizer: Any, max_input: int, max_target: int) -> Encode:
    """`' {source} {separator}'` and, in training, `' {target} {end}'` after it (liliang2021 section (c)).

    The separator is the tokenizer's end-of-sequence token, as in GPT-2, whose beginning and end are one token.
    """
    separator = tokenizer.eos_token

    def encode(rendered: Rendered, training: bool) -> list[Encoded]:
        assert isinstance(rendered, TextToText)
        whole = tokenizer(f" {rendered.source} ", add_special_tokens=False)["input_ids"]
        source = whole[: max_input - 1] + [tokenizer.eos_token_id]
        truncated = len(whole) > max_input - 1
        if not training:
            return [Encoded(tuple(source), len(source), truncated=truncated, separated=True)]
        target = tokenizer(f" {rendered.target} ", add_special_tokens=False)["input_ids"][: max_target - 1]
        target = target + [tokenizer.convert_tokens_to_ids(separator)]
        labels = [IGNORE] * len(source) + target
        ids = (*source, *target)
        return [Encoded(ids, len(source), token_labels=tuple(labels), truncated=truncated, separated=True)]

    return encode
