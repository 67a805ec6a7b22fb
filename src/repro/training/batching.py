"""Which examples a step sees: a function of (seed, step) alone, so that a resumed trial sees the same ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from repro.models.encoding.batch import IGNORE, Batch, Encoded, collate

T = TypeVar("T")

_ORDER, _STEP, _ROW = 0x0D3, 0x57E, 0x20E
"""Streams of randomness that one seed feeds: data order and dropout (a step's, a row's), besides initialisation."""


def mixed_seed(seed: int, stream: int, index: int = 0) -> int:
    """A 63-bit seed for one use of a trial's seed (splitmix64 over the three numbers)."""
    state = (seed * 0x9E3779B97F4A7C15 + stream * 0xBF58476D1CE4E5B9 + index * 0x94D049BB133111EB) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> shift)) * factor % 2**64
    return (state ^ (state >> 31)) >> 1


def step_seed(seed: int, step: int) -> int:
    """Seed of all randomness inside one training step (dropout)."""
    return mixed_seed(seed, _STEP, step)


class DataOrder:
    """A fresh permutation every epoch, cut into batches; the last batch of an epoch may be smaller.

    Args:
        filled: no batch is smaller: batches are cut from the epochs' permutations behind each other, and
            `steps_per_epoch` is rounded up.
        groups: the group of each example, where a batch may hold one group only (P-Tuning v2's multi-task training).
            Then every group is cut by itself, its last batch may be smaller, and the batches of all are shuffled.
    """

    def __init__(
        self, examples: int, batch_size: int, seed: int, groups: Sequence[int] | None = None, filled: bool = False
    ):
        self.filled = filled
        self.examples, self.batch_size, self.seed, self.groups = examples, batch_size, seed, groups
        counts = [examples] if groups is None else list(Counter(groups).values())
        self.steps_per_epoch = sum(math.ceil(count / batch_size) for count in counts)
        self._permutations: dict[int, list[int]] = {}
        self._cached: tuple[int, list[list[int]]] = (-1, [])

    def indices(self, step: int) -> list[int]:
        """Examples of step 0, 1, ..."""
        if self.filled:
            places = range(step * self.batch_size, (step + 1) * self.batch_size)
            return [self._permutation(place // self.examples)[place % self.examples] for place in places]
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._cached[0] != epoch:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, _ORDER, epoch))
            self._cached = (epoch, self._batches(generator))
        return self._cached[1][within]

    def _permutation(self, epoch: int) -> list[int]:
        if epoch not in self._permutations:
            self._permutations = {number: order for number, order in self._permutations.items() if number == epoch - 1}
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, _ORDER, epoch))
            self._permutations[epoch] = torch.randperm(self.examples, generator=generator).tolist()
        return self._permutations[epoch]

    def _batches(self, generator: torch.Generator) -> list[list[int]]:
        """One epoch's batches."""
        order = torch.randperm(self.examples, generator=generator).tolist()
        if self.groups is None:
            return self._cut(order)
        cut = [
            batch
            for group in sorted(set(self.groups))
            for batch in self._cut([index for index in order if self.groups[index] == group])
        ]
        return [cut[place] for place in torch.randperm(len(cut), generator=generator).tolist()]

    def _cut(self, order: Sequence[int]) -> list[list[int]]:
        return [list(order[start : start + self.batch_size]) for start in range(0, len(order), self.batch_size)]


@dataclass(frozen=True)
class Share:
    """One trial's part of a step: its examples, each with its sequences (several where an example has choices)."""

    examples: Sequence[Sequence[Encoded]]
    key: int
    """Of the trial and its step (`step_seed`): all dropout of the step depends on it."""

    def row_key(self, example: int, sequence: int) -> int:
        """Key of one row: the same wherever it stands, in whatever company."""
        return mixed_seed(self.key, _ROW, example * 2**20 + sequence)


@dataclass(frozen=True)
class Part:
    """Which examples of every pass are one process's: each `count`-th from the `rank`-th on."""

    rank: int = 0
    count: int = 1


WHOLE = Part()


def training_batches(shares: Sequence[Share], pad_id: int, passes: int, part: Part = WHOLE) -> list[Batch]:
    """One step's examples of all trials, cut into passes of like length and about as many tokens each.

    Which examples share a step is the data order's business alone. Sorting inside the step changes the padding, not the
    gradient: the loop divides by the whole step's labels, each trial by its own.

    Args:
        passes: forward and backward passes of the step.
        part: of several processes, whose passes these are: where it has no example of one, its first stands in and is
            not counted, since all processes make equally many passes.
    """
    chosen = [(trial, place) for trial, share in enumerate(shares) for place in range(len(share.examples))]
    batches = []
    for piece in [chosen] if passes == 1 else _pieces(shares, chosen, passes):
        own = piece[part.rank :: part.count]
        if piece:
            batches.append(replace(_batch(shares, own or piece[:1], pad_id), counted=bool(own)))
    return batches


def token_counts(batches: Sequence[Batch], trials: int) -> tuple[list[int], list[int]]:
    """Real tokens, and positions with padding, of each trial in the batches of a step."""
    tokens, positions = [0] * trials, [0] * trials
    for batch in batches:
        lengths, width = batch.mask.sum(1), batch.ids.shape[1]
        if batch.target_ids is not None:
            lengths = lengths + (batch.target_ids != IGNORE).sum(1)
            width += batch.target_ids.shape[1]
        for trial, length in zip(batch.rows.tolist(), lengths.tolist(), strict=True):
            tokens[trial] += length
            positions[trial] += width
    return tokens, positions


def _pieces(shares: Sequence[Share], chosen: list[tuple[int, int]], passes: int) -> list[list[tuple[int, int]]]:
    """Examples (trial, place in its step) by length, cut where tokens are about as many in each piece."""

    def tokens(one: tuple[int, int]) -> list[int]:
        return [len(item.ids) + len(item.target_ids or ()) for item in shares[one[0]].examples[one[1]]]

    chosen = sorted(chosen, key=lambda one: max(tokens(one)))
    return even([sum(tokens(one)) for one in chosen], chosen, passes)


def even(sizes: Sequence[int], items: list[T], pieces: int) -> list[list[T]]:
    """Neighbours cut into that many pieces of about the same size, or into one an item if there are fewer."""
    cuts, done, total = [0], 0, sum(sizes)
    for index, size in enumerate(sizes):
        # An item belongs to the piece in which its middle lies; what is left is enough for one item a piece.
        opens = (done + size / 2) * pieces >= total * len(cuts) or len(items) - index <= pieces - len(cuts)
        if index and opens and len(cuts) < pieces:
            cuts.append(index)
        done += size
    return [items[first:last] for first, last in zip(cuts, [*cuts[1:], len(items)], strict=True)]


def _batch(shares: Sequence[Share], piece: Sequence[tuple[int, int]], pad_id: int) -> Batch:
    """The rows of some examples, (trial, place in its step)."""
    items: list[Encoded] = []
    rows: list[int] = []
    draws: list[int] = []
    for trial, place in piece:
        sequences = shares[trial].examples[place]
        items += sequences
        rows += [trial] * len(sequences)
        draws += [shares[trial].row_key(place, index) for index in range(len(sequences))]
    choices = len(shares[piece[0][0]].examples[piece[0][1]])
    return replace(collate(items, pad_id, rows, choices=choices), draws=torch.tensor(draws, dtype=torch.long))
