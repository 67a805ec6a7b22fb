"""Batches of few different shapes: filling examples are added until every number is one of a short list.

A CUDA graph replays kernels of fixed shapes. A packed batch has as many tokens as its examples; with fillers it has the
next of 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ... tokens and labels, and of rows where an example is one. Fillers are
sequences of their own that no other attends to, and their loss is left out, so the gradient is that of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.methods.base import Injection
from repro.models.encoding.batch import BOS, IGNORE, PAD, SOURCE, TARGET, Batch
from repro.models.interface import ModelAdapter
from repro.training.passes import Pass, lay_out, on_device, on_host

LEAST = 16
"""Fillers that are never too many."""
SMALL = 512
"""Tokens up to which a pass costs a GPU no more for being filled up."""


def rounded(count: int) -> int:
    """The next larger number, or itself, of those with two binary digits behind the first."""
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step


def parted(total: int, parts: int) -> list[int]:
    """`total` in parts that differ by 1 at most, larger ones first."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def lay_out_fixed(adapter: ModelAdapter, batch: Batch, injection: Injection, prompts: Sequence[int]) -> Pass:
    """As `passes.lay_out`, of one of few shapes where the batch can be packed and filled up."""
    can_fill = not batch.left and batch.slots is None and injection.infix is None
    full = filled(batch, prompts) if can_fill else None
    reading = None if full is None else adapter.reading(full, on_host(injection, prompts), fixed=True)
    if reading is None or reading.sites is None:
        return lay_out(adapter, batch, injection, prompts)
    return on_device(adapter, reading, batch, fixed=True)


def filled(batch: Batch, prompts: Sequence[int]) -> Batch | None:
    """The batch with filling examples behind its own, and rectangles that are wide enough for others like it.

    Fillers are of the trial of the longest row, with its prompt, and no longer than that row: there is a position for
    each of their tokens. None where that takes more fillers than the batch has rows, or half as many tokens again: long
    prompts before short inputs.

    Args:
        batch: on the CPU, padded on the right.
        prompts: rows of each trial's prompt at the input.
    """
    labels = _labels(batch)
    lengths, said = batch.mask.sum(1), None if labels is None else labels.sum(1)
    longest = int(lengths.argmax())
    prompt, most = prompts[int(batch.rows[longest])], int(lengths[longest])
    tokens = int(lengths.sum() + torch.tensor(prompts)[batch.rows].sum())
    count = _rows(len(lengths), batch.choices)
    while count <= max(LEAST, len(lengths)):
        more_said = [0] * count if said is None else parted(_missing(int(said.sum()), count), count)
        total = rounded(tokens + count * (prompt + 1) + sum(more_said))  # a token each beside labels and prompt
        more = parted(total - tokens - count * prompt, count)
        if max(more) <= most and (said is None or max(more_said) <= int(said[longest])):
            if tokens > SMALL and total > 1.5 * tokens:
                return None
            return _with_fillers(_widened(batch, rounded(batch.ids.shape[1])), more, more_said, longest)
        count += _rows(len(lengths) + count, batch.choices)
    return None


def _missing(count: int, fillers: int) -> int:
    """What is missing to a number of the list, of which every filler has one at least."""
    return rounded(count + fillers) - count


def _rows(present: int, choices: int) -> int:
    """Fillers that bring the rows to a number of the list: one example at least."""
    count = rounded(present + choices) - present
    return -(-count // choices) * choices


def _labels(batch: Batch) -> Tensor | None:
    """[N, T] or [N, U] True where a generating model says a token; None for other formats."""
    if batch.target_ids is not None:
        return batch.target_ids != IGNORE
    if batch.token_labels is None or not bool((batch.order == TARGET).any()):
        return None
    return batch.token_labels != IGNORE


def _widened(batch: Batch, width: int) -> Batch:
    """Rectangles [N, T] of that width; those of targets of the next width of the list."""

    def wide(values: Tensor | None, fill: float, to: int) -> Tensor | None:
        return None if values is None else F.pad(values, (0, to - values.shape[1]), value=fill)

    asked = 0 if batch.target_ids is None else rounded(batch.target_ids.shape[1])
    changed = {
        "ids": wide(batch.ids, 0, width),
        "mask": wide(batch.mask, 0, width),
        "order": wide(batch.order, PAD, width),
        "token_types": wide(batch.token_types, 0, width),
        "token_labels": wide(batch.token_labels, IGNORE, width),
        "target_ids": wide(batch.target_ids, IGNORE, asked),
    }
    return replace(batch, **changed)  # type: ignore[arg-type]


def _with_fillers(batch: Batch, tokens: Sequence[int], labels: Sequence[int], like: int) -> Batch:
    """Rows behind the batch's own: `tokens` of each, of which the last `labels` are said (a decoder-only model), or the
    labels beside them (an encoder-decoder); of the trial and the classes of row `like`."""
    count, width = len(tokens), batch.ids.shape[1]
    place, length = torch.arange(width)[None], torch.tensor(tokens)[:, None]
    said = torch.tensor(labels)[:, None]
    real = place < length
    target = real & (place >= length - (said if batch.target_ids is None else 0))
    order = torch.where(real, torch.where(target, TARGET, torch.where(place == 0, BOS, SOURCE)), PAD)
    first = batch.ids[0, 0]
    rows = {
        "ids": first.expand(count, width),
        "mask": real.to(batch.mask.dtype),
        "order": order.to(batch.order.dtype),
        "rows": batch.rows[like].expand(count),
        "token_types": torch.zeros(count, width),
        "token_labels": torch.where(target, first, IGNORE),
        "labels": torch.zeros(count // batch.choices),
        "mask_at": torch.zeros(count),
        "answers": torch.zeros(count, 2),
        "draws": torch.zeros(count),
    }
    if batch.target_ids is not None:
        rows["target_ids"] = torch.where(torch.arange(batch.target_ids.shape[1])[None] < said, first, IGNORE)
    if batch.label_spans is not None:  # classes of a data set that there is
        rows["label_spans"] = batch.label_spans[like].expand(count, -1)
        rows["labels"] = batch.label_spans[like, 0].expand(count // batch.choices)
    present = {name: (getattr(batch, name), value) for name, value in rows.items()}
    longer = {name: torch.cat([own, new.to(own.dtype)]) for name, (own, new) in present.items() if own is not None}
    return replace(batch, word_starts=(), offsets=(), **longer)  # type: ignore[arg-type]
