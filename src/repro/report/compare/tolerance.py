"""How far from a paper's value our mean counts as equal: rounding, the task's floor, known re-runs, spread of runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.papers import registry, reruns
from repro.papers.registry import Reported

if TYPE_CHECKING:
    from repro.papers.statistics import Summary


@dataclass(frozen=True)
class Tolerance:
    """Half width of the region around the paper's value that counts as equal, in our unit, and what sets it."""

    width: float
    origin: str


def tolerance(cell: Reported, summary: Summary) -> Tolerance:
    """The tolerance around a paper's value, for our runs with this summary.

    The largest of the rounding of the printed value, a floor for the task, how far published re-runs of the same recipe
    are off, and twice the pooled standard deviation where the paper gives one (ours alone never widens it).
    """
    candidates = [
        Tolerance(registry.rounding(cell), "the rounding of the paper's value"),
        Tolerance(registry.floor(cell), "the floor for the task"),
        Tolerance(2 * _pooled(cell, summary), "twice the pooled spread"),
    ]
    if (rerun := reruns.spread(cell)) is not None:
        candidates.insert(2, Tolerance(rerun[0], f"a published re-run: {rerun[1]}"))
    return max(candidates, key=lambda candidate: candidate.width)


def _pooled(cell: Reported, summary: Summary) -> float:
    if cell.spread is None:
        return 0.0
    if summary.std is None:
        return cell.spread
    # A paper that gives a spread without n is weighted as we are.
    ours, theirs = summary.n - 1, max((cell.n_runs or summary.n) - 1, 1)
    return math.sqrt((ours * summary.std**2 + theirs * cell.spread**2) / (ours + theirs))
