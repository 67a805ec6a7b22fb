"""Initial values, all with one signature: (generator, *shape facts) -> one trial's tensor. `stack` makes the axis K."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def stack(make: Callable[[torch.Generator], Tensor], generators: Sequence[torch.Generator]) -> Tensor:
    """One tensor a trial, stacked to a leaf [K, ...] that requires a gradient; trial k sees only its own generator."""
    return torch.stack([make(generator) for generator in generators]).requires_grad_()


def normal(generator: torch.Generator, *shape: int, std: float = 1.0) -> Tensor:
    """N(0, std^2)."""
    return torch.randn(shape, generator=generator) * std


def uniform(generator: torch.Generator, *shape: int, low: float, high: float) -> Tensor:
    """U[low, high)."""
    return torch.rand(shape, generator=generator) * (high - low) + low


def linear_default(generator: torch.Generator, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """Weight [outputs, inputs] and bias [outputs] as `nn.Linear` starts: both U(-1/sqrt(inputs), 1/sqrt(inputs))."""
    bound = 1 / math.sqrt(inputs)
    weight = uniform(generator, outputs, inputs, low=-bound, high=bound)
    return weight, uniform(generator, outputs, low=-bound, high=bound)


def sampled_vocabulary(generator: torch.Generator, rows: int, embeddings: Tensor, population: int) -> Tensor:
    """Embeddings [rows, D] of tokens drawn without replacement from ids 0 .. population - 1.

    Lester et al. section 3.2 ("the 5,000 most common tokens"); in their code the first 5,000 rows of the table, so that
    padding, end-of-sequence and unknown are candidates too.
    """
    chosen = torch.randperm(min(population, embeddings.shape[0]), generator=generator)[:rows]
    if len(chosen) < rows:  # more prompt rows than candidate tokens: only then draw with replacement
        more = torch.randint(min(population, embeddings.shape[0]), (rows - len(chosen),), generator=generator)
        chosen = torch.cat([chosen, more])
    return embeddings[chosen.to(embeddings.device)].clone()


def class_labels(
    generator: torch.Generator,
    rows: int,
    embeddings: Tensor,
    label_ids: Sequence[Sequence[int]],
    population: int,
) -> Tensor:
    """Row i is the mean embedding of label i's sub-tokens; the other rows [rows - labels] are `sampled_vocabulary`.

    Lester et al. section 3.2 and their code (`from_embedded_list`): labels beyond `rows` are dropped.
    """
    means = [embeddings[torch.tensor(list(ids), device=embeddings.device)].mean(0) for ids in label_ids if len(ids)][
        :rows
    ]
    rest = sampled_vocabulary(generator, rows - len(means), embeddings, population)
    return torch.cat([torch.stack(means), rest]) if means else rest
