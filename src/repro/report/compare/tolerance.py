"""How far from a paper's value our mean counts as equal: rounding, the task's floor, known re-runs, spread of runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from repro.papers import registry, reruns
from repro.papers.registry import Reported

if TYPE_CHECKING:
    from repro.papers.statistics import Summary


def band(cell: Reported, summary: Summary) -> tuple[float, str]:
    """Half width of the region around the paper's value that counts as equal, in our unit, and what sets it.

    The largest of the rounding of the printed value, a floor for the task, how far published re-runs of the same recipe
    are off, and twice the pooled standard deviation where the paper gives one (ours alone never widens it).
    """
    again = reruns.spread(cell)
    widths = {
        "the rounding of the paper's value": registry.rounding(cell),
        "the floor for the task": registry.floor(cell),
        f"a published re-run: {again[1]}" if again else "no re-run": again[0] if again else 0.0,
        "twice the pooled spread": 2 * _pooled(cell, summary),
    }
    origin = max(widths, key=lambda name: widths[name])
    return widths[origin], origin


def _pooled(cell: Reported, summary: Summary) -> float:
    if cell.spread is None:
        return 0.0
    if summary.std is None:
        return cell.spread
    # A paper that gives a spread without n is weighted as we are.
    ours, theirs = summary.n - 1, max((cell.n_runs or summary.n) - 1, 1)
    return math.sqrt((ours * summary.std**2 + theirs * cell.spread**2) / (ours + theirs))
