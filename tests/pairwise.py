"""Combinations that cover every pair of values, where all of them would be too many."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def pairwise(*axes: Sequence[object]) -> list[tuple[object, ...]]:
    """Tuples of one value an axis, so that any two values of two axes occur together."""
    return covering(list(itertools.product(*axes)))


def covering(rows: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Some of the rows, with every pair of values that any row has: greedy, always the same."""
    pairs = {row: frozenset(_pairs_of(row)) for row in rows}
    missing = set().union(*pairs.values())
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(missing & pairs[row]))
        missing -= pairs[best]
        chosen.append(best)
    return chosen


def _pairs_of(row: tuple[object, ...]) -> list[tuple[int, object, int, object]]:
    return [(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2)]
