"""Which examples a step sees: a function of (seed, step) alone, so that a resumed trial sees the same ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch

from repro.models.batch import Batch, Encoded, collate

_ORDER, _STEP = 0x0D3, 0x57E
"""Streams of randomness that one seed feeds: data order and dropout, besides initialisation."""


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
        groups: the group of each example, where a batch may hold one group only (P-Tuning v2's multi-task training).
            Then every group is cut by itself, its last batch may be smaller, and the batches of all are shuffled.
    """

    def __init__(self, examples: int, batch_size: int, seed: int, groups: Sequence[int] | None = None):
        self.examples, self.batch_size, self.seed, self.groups = examples, batch_size, seed, groups
        counts = [examples] if groups is None else list(Counter(groups).values())
        self.steps_per_epoch = sum(math.ceil(count / batch_size) for count in counts)
        self._cached: tuple[int, list[list[int]]] = (-1, [])

    def indices(self, step: int) -> list[int]:
        """Examples of step 0, 1, ..."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._cached[0] != epoch:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, _ORDER, epoch))
            self._cached = (epoch, self._batches(generator))
        return self._cached[1][within]

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


def training_batches(
    encoded: Sequence[Sequence[Sequence[Encoded]]],
    orders: Sequence[DataOrder],
    step: int,
    pad_id: int,
    microbatches: int,
) -> list[Batch]:
    """One step's examples of all trials, cut into micro-batches of like length.

    Which examples share a step is the data order's business alone. Sorting inside the step changes the padding, not the
    gradient: the loop divides by the whole step's labels.

    Args:
        encoded: per trial, per example, its sequences (several where an example has choices).
        orders: each trial's data order; `batch_size` counts one whole step.
        microbatches: forward and backward passes a step.
    """
    chosen = [(encoded[trial][index], trial) for trial, order in enumerate(orders) for index in order.indices(step)]
    if microbatches > 1:
        chosen.sort(key=lambda pair: max(len(item.ids) for item in pair[0]))
    batches = []
    for part in range(microbatches):
        piece = chosen[part * len(chosen) // microbatches : (part + 1) * len(chosen) // microbatches]
        if piece:
            choices = len(piece[0][0])
            items = [item for sequences, _ in piece for item in sequences]
            rows = [trial for sequences, trial in piece for _ in sequences]
            batches.append(collate(items, pad_id, rows, choices=choices))
    return batches
