"""Examples as token ids, and a batch of them: what a model reads. Padding is decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor

IGNORE = -100
"""Label of a position that carries no loss."""

BOS, SOURCE, SEPARATOR, TARGET, PAD = 0.0, 1.0, 1.4, 2.0, 9.0
"""Order keys of tokens: a prompt is placed by its own key between them (`models.prompt_positions`)."""


@dataclass(frozen=True)
class Encoded:
    """One sequence of one example as token ids, special tokens included."""

    ids: tuple[int, ...]
    source_length: int
    """Tokens of `ids` that belong to the input; in a decoder-only training sequence the target follows them."""
    token_types: tuple[int, ...] | None = None
    label: int | None = None
    """Class id (pair, choice)."""
    token_labels: tuple[int, ...] | None = None
    """One label a token, IGNORE where there is none (tagging; decoder-only training)."""
    target_ids: tuple[int, ...] | None = None
    """What the decoder of an encoder-decoder must produce."""
    word_starts: tuple[int, ...] = ()
    """Index in `ids` of the first sub-token of each word that survived truncation (tagging)."""
    truncated: bool = False
    separated: bool = False
    """The last token of the input is a separator, which an infix stands before (decoder-only)."""
    slots: tuple[int, ...] | None = None
    """Prompt row of each token that stands for one, -1 for a real token (placement `template`)."""
    mask_at: int | None = None
    """Index in `ids` of the mask token that the language-model head must fill (cloze)."""
    label_span: tuple[int, int] | None = None
    """First class and one past the last of the data set that the example comes from, where one head serves several."""
    answer: tuple[int, int] | None = None
    """First and last token of the answer; both 0, the [CLS], where this window holds none (span)."""
    offsets: np.ndarray | None = field(default=None, compare=False)
    """[T, 2] first character of the context and one past the last of each token, -1 outside the context (span)."""


@dataclass(frozen=True)
class Batch:
    """N rows padded to the longest of them."""

    ids: Tensor
    """[N, T]"""
    mask: Tensor
    """[N, T] 1 on real tokens"""
    order: Tensor
    """[N, T] order keys BOS, SOURCE, TARGET or +-PAD (negative: padding on the left)"""
    rows: Tensor
    """[N] trial index of each row"""
    token_types: Tensor | None = None
    """[N, T]"""
    labels: Tensor | None = None
    """[N] class ids, or [N / choices] where several rows are the choices of one example"""
    token_labels: Tensor | None = None
    """[N, T]"""
    target_ids: Tensor | None = None
    """[N, U], IGNORE on padding"""
    slots: Tensor | None = None
    """[N, T] prompt row of a token that stands for one, -1 elsewhere"""
    mask_at: Tensor | None = None
    """[N] where the mask token is"""
    label_spans: Tensor | None = None
    """[N, 2] the classes that a row may take: first, one past the last"""
    word_starts: tuple[tuple[int, ...], ...] = ()
    answers: Tensor | None = None
    """[N, 2] first and last token of the answer (span)"""
    offsets: tuple[np.ndarray | None, ...] = ()
    """Each row's characters of its tokens, as in `Encoded`"""
    choices: int = 1
    left: bool = False
    """Padded on the left."""
    draws: Tensor | None = None
    """[N] keys by which dropout draws for each row: of its trial, step and place in its own batch."""
    counted: bool = True
    """False: the rows stand in where a process has none of a pass (`training.batching.Part`); their loss counts 0."""

    @property
    def tokens(self) -> int:
        """Real tokens, source and target."""
        targets = 0 if self.target_ids is None else int((self.target_ids != IGNORE).sum())
        return int(self.mask.sum()) + targets

    @property
    def padded_tokens(self) -> int:
        """Positions computed, padding included."""
        return self.ids.numel() + (0 if self.target_ids is None else self.target_ids.numel())

    def label_counts(self) -> Tensor:
        """How many labels each example is trained on [N / choices]: tokens of its target, tagged words, or 1."""
        labels = self.target_ids if self.target_ids is not None else self.token_labels
        if labels is None:
            return torch.ones(len(self.ids) // self.choices, dtype=torch.long)
        return (labels != IGNORE).sum(1)

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on a device."""
        moved = {
            f.name: getattr(self, f.name).to(device) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)


def _pad(sequences: Sequence[Sequence[float]], value: float, left: bool, dtype: torch.dtype) -> Tensor:
    longest = max(len(sequence) for sequence in sequences)
    out = torch.full((len(sequences), longest), value, dtype=dtype)
    for row, sequence in zip(out, sequences, strict=True):
        if sequence:
            row[longest - len(sequence) if left else 0 :][: len(sequence)] = torch.tensor(sequence, dtype=dtype)
    return out


def _order(item: Encoded) -> list[float]:
    keys = [BOS] + [SOURCE] * (item.source_length - 1) if item.source_length else []
    if item.separated:
        keys[-1] = SEPARATOR
    return keys + [TARGET] * (len(item.ids) - item.source_length)


def collate(
    items: Sequence[Encoded], pad_id: int, rows: Sequence[int] | None = None, left: bool = False, choices: int = 1
) -> Batch:
    """Pad `items` to the longest.

    Args:
        items: one a row; the choices of one example stand next to each other.
        pad_id: token id of padding.
        rows: trial index of each row, zeros by default.
        left: pad on the left (decoder-only generation).
        choices: rows an example.
    """
    long = torch.long
    labels = [item.label for item in items[::choices] if item.label is not None]
    token_labels = [item.token_labels for item in items if item.token_labels is not None]
    token_types = [item.token_types for item in items if item.token_types is not None]
    targets = [item.target_ids for item in items if item.target_ids is not None]
    slots = [item.slots for item in items if item.slots is not None]
    mask_at = [item.mask_at for item in items if item.mask_at is not None]
    spans = [item.label_span for item in items if item.label_span is not None]
    answers = [item.answer for item in items if item.answer is not None]
    return Batch(
        ids=_pad([item.ids for item in items], pad_id, left, long),
        mask=_pad([[1] * len(item.ids) for item in items], 0, left, long),
        order=_pad([_order(item) for item in items], -PAD if left else PAD, left, torch.float32),
        rows=torch.tensor(rows if rows is not None else [0] * len(items), dtype=long),
        token_types=_pad(token_types, 0, left, long) if token_types else None,
        labels=torch.tensor(labels, dtype=long) if labels else None,
        token_labels=_pad(token_labels, IGNORE, left, long) if token_labels else None,
        target_ids=_pad(targets, IGNORE, False, long) if targets else None,
        slots=_pad(slots, -1, left, long) if slots else None,
        mask_at=torch.tensor(mask_at, dtype=long) if mask_at else None,
        label_spans=torch.tensor(spans, dtype=long) if spans else None,
        word_starts=tuple(item.word_starts for item in items),
        answers=torch.tensor(answers, dtype=long) if answers else None,
        offsets=tuple(item.offsets for item in items),
        choices=choices,
        left=left,
    )
