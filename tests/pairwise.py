"""Combinations that cover every pair of values, where all of them would be too many."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence


def pairwise(*axes: Sequence[object]) -> list[tuple[object, ...]]:
    """Tuples of one value an axis, so that any two values of two axes occur together: greedy, always the same."""
    missing = {pair for i, j in itertools.combinations(range(len(axes)), 2) for pair in _pairs(axes, i, j)}
    chosen = []
    while missing:
        best = max(itertools.product(*axes), key=lambda row: len(missing.intersection(_pairs_of(row))))
        missing.difference_update(_pairs_of(best))
        chosen.append(best)
    return chosen


def _pairs(axes: Sequence[Sequence[object]], i: int, j: int) -> Iterator[tuple[int, object, int, object]]:
    return ((i, a, j, b) for a, b in itertools.product(axes[i], axes[j]))


def _pairs_of(row: tuple[object, ...]) -> list[tuple[int, object, int, object]]:
    return [(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2)]
