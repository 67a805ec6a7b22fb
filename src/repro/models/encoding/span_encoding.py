"""Extractive question answering: a context cut into overlapping windows, and one answer out of all of them.

As P-Tuning v2's tasks/qa (Liu et al. 2022, section 4.1; papers/liu2022 sections (c) and (d)), whose code is that of
transformers' question-answering example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizerBase

from repro.errors import DataError
from repro.models.encoding.batch import Encoded
from repro.tasks.base import Span, SpanAnswer

OUTPUTS = 2
"""Of the linear head on every token: the logit that the answer starts there, and that it ends there."""


@dataclass(frozen=True)
class SpanOptions:
    """What the official code fixes; a task's `options` of the same names change it."""

    stride: int = 128
    """Tokens that two neighbouring windows share (not the step from one to the next, as BERT's own script counts)."""
    n_best: int = 20
    """Starts, and ends, of a window that are combined."""
    max_answer_tokens: int = 30

    @classmethod
    def of(cls, options: Mapping[str, object] | None) -> SpanOptions:
        """The options among those of a task."""
        given = options or {}
        numbers = {name: value for name, value in given.items() if isinstance(value, int)}
        return cls(**{field.name: numbers[field.name] for field in fields(cls) if field.name in numbers})


@dataclass(frozen=True)
class WindowAnswer:
    """The best piece of one window and the scores, sums of a start and an end logit; no piece: `place` None."""

    place: tuple[int, int] | None
    score: float
    null_score: float


def encode_span(
    tokenizer: PreTrainedTokenizerBase, span: Span, max_length: int, stride: int, training: bool = False
) -> list[Encoded]:
    """`[CLS] question [SEP] window [SEP]` for every window of the context, at most `max_length` tokens each.

    A window without the whole answer is labelled with [CLS], as is a question without one.

    Deviation: an answer that starts in the last token of a window is labelled with that token; the official walk over
    the tokens goes on to the padding, since padding has offset 0 there.

    Raises:
        DataError: the question leaves no room for the context.
    """
    windows = _windows(tokenizer, span, max_length, stride)
    encoded = []
    for window in range(len(windows["input_ids"])):
        ids = windows["input_ids"][window]
        inside = np.array([part == 1 for part in windows.sequence_ids(window)])
        offsets = np.where(inside[:, None], np.array(windows["offset_mapping"][window]), -1).astype(np.int32)
        types = windows["token_type_ids"][window] if "token_type_ids" in windows else None
        encoded.append(
            Encoded(
                ids=tuple(ids),
                source_length=len(ids),
                token_types=None if types is None else tuple(types),
                answer=answer_tokens(offsets, span.answer),
                offsets=None if training else offsets,  # only decoding needs them, and they are large
            )
        )
    return encoded


def _windows(tokenizer: PreTrainedTokenizerBase, span: Span, max_length: int, stride: int) -> BatchEncoding:
    """The tokenizer's own windows, by `truncation="only_second"` with overflow."""
    question = tokenizer(span.question, add_special_tokens=False)["input_ids"]
    room = max_length - len(question) - tokenizer.num_special_tokens_to_add(pair=True)
    if room < 1:
        raise DataError(
            f"the question {span.question[:60]!r} has {len(question)} tokens: task.max_input_length={max_length} "
            "leaves no room for its context. Raise task.max_input_length."
        )
    return tokenizer(
        span.question,
        span.context,
        truncation="only_second",
        max_length=max_length,
        # Windows that share all they hold would never end: the tokenizer refuses them. Then they share half.
        stride=stride if stride < room else room // 2,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )


def answer_tokens(offsets: np.ndarray, answer: tuple[int, int] | None) -> tuple[int, int]:
    """First and last token of the answer, (0, 0) if the window does not hold all of it.

    The last token that starts at or before the answer's first character, and the first that ends at or after its last.

    Args:
        offsets: [T, 2] as in `Encoded`.
        answer: first character and one past the last.
    """
    inside = np.flatnonzero(offsets[:, 0] >= 0)
    if answer is None or not len(inside):
        return 0, 0
    starts, ends = offsets[inside, 0], offsets[inside, 1]
    if starts[0] > answer[0] or ends[-1] < answer[1]:
        return 0, 0
    first = int(np.searchsorted(starts, answer[0], side="right")) - 1
    last = int(np.searchsorted(ends, answer[1], side="left"))
    return int(inside[first]), int(inside[last])


def separated(encoded: Sequence[Sequence[Encoded]], format: str) -> list[list[Encoded]]:
    """What training and loss count as examples: every window of a span and every candidate of a ranking is one (as in
    the official code), in the other formats all sequences of an example are."""
    if format not in ("span", "ranking"):
        return [list(items) for items in encoded]
    return [[item] for items in encoded for item in items]


def window_answer(start: np.ndarray, end: np.ndarray, offsets: np.ndarray, options: SpanOptions) -> WindowAnswer:
    """The best piece of a window among the `n_best` highest starts and ends, and the score of [CLS] as start and end.

    Deviation: the highest are taken among the window's own tokens (question and special tokens included); the official
    code takes them among 384 places, padding included.

    Args:
        start, end: logits [T].
        offsets: [T, 2] as in `Encoded`.
    """
    firsts = np.argsort(-start, kind="stable")[: options.n_best]
    lasts = np.argsort(-end, kind="stable")[: options.n_best]
    length = lasts[None, :] - firsts[:, None] + 1
    possible = (length >= 1) & (length <= options.max_answer_tokens)
    possible &= (offsets[firsts, 0] >= 0)[:, None] & (offsets[lasts, 0] >= 0)[None, :]
    scores = np.where(possible, start[firsts][:, None] + end[lasts][None, :], -np.inf)
    row, column = np.unravel_index(int(scores.argmax()), scores.shape)
    null = float(start[0] + end[0])
    if not possible[row, column]:
        return WindowAnswer(None, 0.0, null)
    place = (int(offsets[firsts[row], 0]), int(offsets[lasts[column], 1]))
    return WindowAnswer(place, float(scores[row, column]), null)


def best_answer(windows: Sequence[WindowAnswer]) -> SpanAnswer:
    """The best piece of all windows (the first on ties) against the lowest null score of any window.

    Where no window has a possible piece its score is 0, as that of the official code's stand-in.
    """
    null = min(window.null_score for window in windows)
    found = [window for window in windows if window.place is not None]
    if not found:
        return SpanAnswer(None, null)
    best = max(found, key=lambda window: window.score)
    return SpanAnswer(best.place, null - best.score)
