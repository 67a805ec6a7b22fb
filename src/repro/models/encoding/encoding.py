"""A rendered example as token ids, for each kind of model: truncation, special tokens, label alignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from repro.errors import DataError, ModelError
from repro.models.encoding.batch import IGNORE, Encoded
from repro.models.encoding.span_encoding import SpanOptions, encode_span
from repro.models.encoding.vocabulary import token_ids
from repro.tasks.base import Choice, Cloze, Pair, Ranking, Rendered, Span, Tagged, TextToText

Encode = Callable[[Rendered, bool], list[Encoded]]
"""(rendered example, training?) -> one sequence, or one a choice, candidate or window. A decoder's in training has the
target."""


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, first: str, second: str | None, label: int, max_length: int
) -> Encoded:
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


def encode_tagged(tokenizer: PreTrainedTokenizerBase, example: Tagged, max_length: int) -> Encoded:
    """A word's first sub-token carries its tag, the others IGNORE (papers/liu2022 section (c)).

    Words behind the tagged ones are read like them, and a special token's name among them becomes that token where the
    vocabulary has it: `[SEP]` is one token of BERT and several of RoBERTa, as in the official code.
    """
    read = [*example.words, *example.behind]
    full = tokenizer(read, is_split_into_words=True, truncation=True, max_length=max_length)
    ids, words = full["input_ids"], full.word_ids()
    labels, starts = [IGNORE] * len(ids), {}
    for index, word in enumerate(words):
        if word is not None and word < len(example.words) and word not in starts:
            starts[word] = index
            tag = example.tags[word]
            labels[index] = IGNORE if tag is None else tag
    # A word that the tokenizer drops altogether (a lone control or zero-width character) has no sub-token: it keeps its
    # place by pointing at [CLS], whose prediction is then taken for it; words cut off at the end are left out.
    kept, cut = len(example.words), False
    if len(ids) >= max_length:
        whole = set(tokenizer(read, is_split_into_words=True).word_ids()) - {None}
        lost = sorted(word for word in whole if word not in words)
        kept, cut = min([kept, *lost]), bool(lost)
    positions = [starts.get(word, 0) for word in range(kept)]
    return Encoded(
        ids=tuple(ids),
        source_length=len(ids),
        token_types=tuple(full["token_type_ids"]) if "token_type_ids" in full else None,
        token_labels=tuple(labels),
        word_starts=tuple(positions),
        truncated=cut,
    )


def encode_cloze(tokenizer: PreTrainedTokenizerBase, cloze: Cloze, max_length: int) -> Encoded:
    """`[CLS] pieces [SEP]` with one mask token, and a stand-in for every prompt row.

    Each text is tokenised by itself. Where it is too long, the longest text loses tokens at its end until it fits; gap
    and prompt rows always stay. What stands in for a prompt row has no meaning: its embedding is replaced.

    Raises:
        ModelError: the tokenizer has no mask token, or not the token that fills the gap.
        DataError: gap and prompt rows alone are too many.
    """
    if tokenizer.mask_token_id is None:
        raise ModelError("method.head=verbaliser: this model's tokenizer has no mask token. Set method.head=linear.")
    texts = [
        tokenizer(piece, add_special_tokens=False)["input_ids"] if isinstance(piece, str) else None
        for piece in cloze.pieces
    ]
    fixed = 2 + sum(1 if piece is None else piece for piece in cloze.pieces if not isinstance(piece, str))
    if fixed > max_length:
        raise DataError(
            f"task.max_input_length={max_length}: the gap and the prompt rows of the cloze template alone take {fixed} "
            "tokens. Raise it, or shorten the template (task.cloze)."
        )
    excess = fixed + sum(len(text) for text in texts if text is not None) - max_length
    truncated = excess > 0
    for _ in range(excess):
        max((text for text in texts if text), key=len).pop()
    ids, slots, mask_at, row = [tokenizer.cls_token_id], [-1], 0, 0
    for piece, text in zip(cloze.pieces, texts, strict=True):
        if piece is None:
            mask_at = len(ids)
            ids, slots = [*ids, tokenizer.mask_token_id], [*slots, -1]
        elif isinstance(piece, int):
            ids, slots = ids + [tokenizer.unk_token_id] * piece, slots + list(range(row, row + piece))
            row += piece
        else:
            ids, slots = ids + list(text or ()), slots + [-1] * len(text or ())
    ids, slots = [*ids, tokenizer.sep_token_id], [*slots, -1]
    has_types = "token_type_ids" in tokenizer.model_input_names
    return Encoded(
        ids=tuple(ids),
        source_length=len(ids),
        token_types=(0,) * len(ids) if has_types else None,
        label=cloze.label if cloze.token is None else token_ids(tokenizer, [cloze.token])[0],
        slots=tuple(slots) if row else None,
        mask_at=mask_at,
        truncated=truncated,
    )


def encoder_encoding(tokenizer: PreTrainedTokenizerBase, max_input: int, spans: SpanOptions | None = None) -> Encode:
    """For encoders: pair, choice, ranking, tagging, span and cloze formats."""
    stride = (spans or SpanOptions()).stride

    def encode(rendered: Rendered, training: bool) -> list[Encoded]:
        if isinstance(rendered, Pair):
            made = encode_pair(tokenizer, rendered.first, rendered.second, rendered.label, max_input)
            return [replace(made, label_span=rendered.classes)]
        if isinstance(rendered, Choice):
            return [
                encode_pair(tokenizer, first, second, rendered.label, max_input) for first, second in rendered.pairs
            ]
        if isinstance(rendered, Ranking):
            candidates = zip(rendered.pairs, rendered.labels, strict=True)
            return [encode_pair(tokenizer, first, second, label, max_input) for (first, second), label in candidates]
        if isinstance(rendered, Span):
            windows = encode_span(tokenizer, rendered, max_input, stride, training)
            return [replace(window, label_span=rendered.classes) for window in windows]
        if isinstance(rendered, Cloze):
            return [encode_cloze(tokenizer, rendered, max_input)]
        assert isinstance(rendered, Tagged)
        return [replace(encode_tagged(tokenizer, rendered, max_input), label_span=rendered.classes)]

    return encode


def encoder_decoder_encoding(
    tokenizer: PreTrainedTokenizerBase, max_input: int, max_target: int, evaluation_input: int | None = None
) -> Encode:
    """Source and target apart, each closed by an end of sequence after truncation (papers/lester2021 section (c)).

    Args:
        evaluation_input: tokens of an input when nothing is trained; None: as many, 0: all.
    """

    def encode(rendered: Rendered, training: bool) -> list[Encoded]:
        assert isinstance(rendered, TextToText)
        room = max_input if training or evaluation_input is None else evaluation_input
        source = tokenizer(rendered.source)["input_ids"]
        cut = bool(room) and len(source) > room
        if cut and rendered.asked:
            source = source[-room:]
        elif cut:
            source = tokenizer(rendered.source, truncation=True, max_length=room)["input_ids"]
        target = tokenizer(text_target=rendered.target, truncation=True, max_length=max_target)["input_ids"]
        return [Encoded(tuple(source), len(source), target_ids=tuple(target), truncated=cut)]

    return encode


def decoder_encoding(
    tokenizer: PreTrainedTokenizerBase, max_input: int, max_target: int, evaluation_input: int | None = None
) -> Encode:
    """`' {source} {separator}'` and, in training, `' {target} {end}'` after it (liliang2021 section (c)).

    The separator is the tokenizer's end-of-sequence token, as in GPT-2, whose beginning and end are one token. A text
    prompt has none: the model goes on where the text ends.

    Args:
        evaluation_input: as in `encoder_decoder_encoding`.
    """
    separator = tokenizer.eos_token

    def encode(rendered: Rendered, training: bool) -> list[Encoded]:
        assert isinstance(rendered, TextToText)
        separated = not rendered.asked
        text = f" {rendered.source} " if separated else rendered.source
        whole = tokenizer(text, add_special_tokens=False)["input_ids"]
        room = (max_input if training or evaluation_input is None else evaluation_input) - separated
        truncated = 0 < room < len(whole)
        if truncated:
            whole = whole[:room] if separated else whole[-room:]
        source = whole + [tokenizer.eos_token_id] * separated
        if not training:
            return [Encoded(tuple(source), len(source), truncated=truncated, separated=separated)]
        target = tokenizer(f" {rendered.target} ", add_special_tokens=False)["input_ids"][: max_target - 1]
        target = target + [tokenizer.convert_tokens_to_ids(separator)]
        labels = [IGNORE] * len(source) + target
        ids = (*source, *target)
        return [Encoded(ids, len(source), token_labels=tuple(labels), truncated=truncated, separated=separated)]

    return encode
