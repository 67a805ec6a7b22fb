"""Which examples a step sees: a function of (seed, step) alone, so that a resumed trial sees the same ones."""

from __future__ import annotations

import math
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
    """A fresh permutation every epoch, cut into batches; the last batch of an epoch may be smaller."""

    def __init__(self, examples: int, batch_size: int, seed: int):
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.steps_per_epoch = math.ceil(examples / batch_size)
        self._cached: tuple[int, list[int]] = (-1, [])

    def indices(self, step: int) -> list[int]:
        """Examples of step 0, 1, ..."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._cached[0] != epoch:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, _ORDER, epoch))
            self._cached = (epoch, torch.randperm(self.examples, generator=generator).tolist())
        return self._cached[1][within * self.batch_size : (within + 1) * self.batch_size]


def training_batches(
    encoded: Sequence[Sequence[Sequence[Encoded]]],
    orders: Sequence[DataOrder],
    step: int,
    pad_id: int,
    accumulate: int,
) -> list[Batch]:
    """The micro-batches of one step, each with rows of all trials.

    Args:
        encoded: per trial, per example, its sequences (several where an example has choices).
        orders: each trial's data order; `batch_size` counts one whole step.
        accumulate: into how many micro-batches the step is cut.
    """
    batches = []
    chosen = [order.indices(step) for order in orders]
    for part in range(accumulate):
        items: list[Encoded] = []
        rows: list[int] = []
        choices = 1
        for trial, indices in enumerate(chosen):
            for index in indices[part::accumulate]:
                sequences = encoded[trial][index]
                choices = len(sequences)
                items += sequences
                rows += [trial] * choices
        if items:
            batches.append(collate(items, pad_id, rows, choices=choices))
    return batches
