"""What a person sees when a trial ends: its scores, and the papers' beside them."""

from __future__ import annotations

from repro.papers import registry
from repro.report.compare.compare import compare, describe
from repro.report.compare.groups import groups
from repro.store.record import Record


def trial_summary(record: Record, from_store: bool) -> str:
    """A few lines: what ran, what came out, what the papers have."""
    plain = record.config
    name = f"{plain['method']['name']} | {plain['model']['name']} | {plain['task']['name']} | seed {record.seed}"
    origin = "already in the store" if from_store else f"{record.cost.get('seconds', 0):.0f} s"
    lines = [f"{name}  [{record.key}, {origin}]"]
    if record.status != "done":
        lines.append(f"  {record.status}: {record.reason}")
    group = groups([record])[0]
    cells = registry.cells()
    for split, metric in group.measures:
        if split != plain["task"]["report_split"]:
            continue
        found = compare(group, cells, split, metric)
        value = record.metrics[split].get(metric)
        if value is None:
            lines.append(f"  {split} {metric} is missing: {record.missing[split][metric]}")
            continue
        line = f"  {split} {metric} {value:.2f}"
        if found.reported is not None:
            gap = "" if found.difference is None else f", difference {found.difference:+.2f}"
            line += f"   paper {found.reported.number:g} ({describe(found.reported)}){gap}: {found.verdict}"
        else:
            near = ", ".join(f"{cell.model} {cell.number:g}" for cell in found.nearest)
            line += f"   {found.verdict}: {found.reason}" + (f" The paper's: {near}." if near else "")
        lines.append(line)
    counts = record.parameters
    lines.append(
        f"  trained {counts['trained']:,} parameters, stored {counts['stored']:,}, frozen {counts['frozen']:,}"
    )
    return "\n".join(lines)
