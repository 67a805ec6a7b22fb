"""Which examples share a passage: what clustered intervals need to know of a split."""

from __future__ import annotations

from collections.abc import Sequence

from repro.tasks.base import Example


def cluster_numbers(examples: Sequence[Example]) -> list[int]:
    """A number a cluster, in order of appearance, one an example; empty where every example stands alone.

    Args:
        examples: of one split, in the order in which statistics are kept.
    """
    index: dict[str, int] = {}
    numbers = [
        index.setdefault(f"c{e.cluster}" if e.cluster is not None else f"e{i}", len(index))
        for i, e in enumerate(examples)
    ]
    return [] if len(index) == len(numbers) else numbers
