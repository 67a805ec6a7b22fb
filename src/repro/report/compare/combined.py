"""Cells that several records answer together: SuperGLUE averages over eight tasks, and members of an ensemble.

`ours` finds the runs; here they become a score that stands in an exhibit as any other.
"""

from __future__ import annotations

from repro.papers.registry import Reported
from repro.report.compare.compare import Comparison, against
from repro.report.compare.our_cells import Ours, Results
from repro.report.compare.rows import Score


def combined(cell: Reported) -> bool:
    """Whether a cell is an average, or a figure of an ensemble's record, and not the score of one group of runs."""
    return cell.metric == "superglue_score" or "aggregate" in cell.vars


def combined_scores(cell: Reported, results: Results, printed: bool) -> list[Score]:
    """The score of a combined cell, once for each group of runs it is made of; none where a run is missing.

    Args:
        cell: of an exhibit, printed or not.
        results: our runs.
        printed: whether the paper has a number to compare with.
    """
    ours = results.of(cell)
    if ours is None:
        return []
    comparison = _compared(cell, ours, printed)
    split, metric = cell.our_split or "", cell.metric
    return [Score(group, split, metric, comparison, first=False) for group in ours.groups]


def _compared(cell: Reported, ours: Ours, printed: bool) -> Comparison:
    from repro.papers import statistics

    values = _values(ours)
    summary = statistics.summary(values)
    if len(ours.parts) > 1:
        reason = f"The mean over {len(ours.parts)} tasks of their means over runs."
    else:
        reason = "From the record of the ensemble."
    if not printed or not cell.usable:
        return Comparison("not comparable", None, None, reason, summary)
    return against(cell, values, summary, before=f"{reason} ")


def _values(ours: Ours) -> list[float]:
    """One value per run; of tasks whose seeds differ the mean alone, which then counts as one run."""
    if len(ours.parts) == 1:
        return list(ours.parts[0])
    return [ours.value] if ours.std is None else ours.by_run
