"""The lines printed when a trial ends: its scores, and the papers' beside them."""

from __future__ import annotations

from repro.errors import visible
from repro.papers import registry
from repro.report.compare.compare import Comparison, compare, describe
from repro.report.compare.groups import groups
from repro.store.record import Record


def trial_summary(record: Record, from_store: bool) -> str:
    """A few lines: the trial, its scores, the papers' numbers."""
    trial = record.trial
    name = f"{trial.method.name} | {trial.model.name} | {trial.task.name} | seed {record.seed}"
    origin = "already in the store" if from_store else f"{record.cost.get('seconds', 0):.0f} s"
    lines = [f"{name}  [{record.key}, {origin}]"]
    if record.status != "done":
        lines.append(f"  {record.status}: {record.reason}")
    group = groups([record])[0]
    cells = registry.cells()
    for split, metric in group.measures:
        if split == trial.task.report_split:
            lines.append(f"  {split} {metric} {_score(record, compare(group, cells, split, metric), split, metric)}")
    lines += [f"  {text}" for text in record.deviations if text.startswith(f"{trial.task.report_split}: ")]
    counts = ", ".join(f"{word} {record.parameters[name]:,}{unit}" for word, name, unit in _COUNTS)
    return visible("\n".join([*lines, f"  {counts}"]))


_COUNTS = (("trained", "trained", " parameters"), ("stored", "stored", ""), ("frozen", "frozen", ""))


def _score(record: Record, comparison: Comparison, split: str, metric: str) -> str:
    value = record.metrics.get(split, {}).get(metric)
    if value is None:
        return f"is missing: {record.missing[split][metric]}"
    if (paper := comparison.reported) is not None:
        gap = "" if comparison.difference is None else f", difference {comparison.difference:+.2f}"
        return f"{value:.2f}   paper {paper.number:g} ({describe(paper)}){gap}: {comparison.verdict}"
    near = ", ".join(f"{cell.model} {cell.number:g}" for cell in comparison.nearest)
    context = f" The paper's: {near}." if near else ""
    return f"{value:.2f}   {comparison.verdict}: {comparison.reason}{context}"
