"""What a tracker shows at the end, beside the curves: tables and figures of a trial, or those of a report."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.store.record import Record

_PREDICTIONS = 50
"""Examples of each split whose predictions are shown."""


@dataclass(frozen=True)
class Table:
    """Rows under a head."""

    head: Sequence[str]
    lines: Sequence[Sequence[Any]]

    def markdown(self) -> str:
        """As Markdown; text of the data stays text."""
        head, *lines = ([_cell(one) for one in line] for line in (self.head, *self.lines))
        return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.replace("\\", "&#92;").replace("|", "\\|").split())


@dataclass(frozen=True)
class Shown:
    """Tables and figures by name; a figure is the bytes of a PNG."""

    tables: dict[str, Table] = field(default_factory=dict)
    figures: dict[str, bytes] = field(default_factory=dict)


def of_trial(record: Record, folder: Path) -> Shown:
    """Scores, evaluations during training, the first predictions of each split, and the learning curve.

    Args:
        record: the trial's.
        folder: its run folder, where the predictions lie.
    """
    scores = [[split, name, value] for split, row in record.metrics.items() for name, value in row.items()]
    scores += [[split, name, f"missing: {why}"] for split, row in record.missing.items() for name, why in row.items()]
    tables = {"scores": Table(("split", "metric", "value"), [[a, b, str(c)] for a, b, c in scores])}
    if record.curve:
        tables["evaluations"] = _evaluations(record)
    for path in sorted(folder.glob("predictions-*.jsonl")):
        tables[path.stem] = _predictions(path)
    figure = _learning_curve(record)
    return Shown(tables, {} if figure is None else {"learning_curve": figure})


def _evaluations(record: Record) -> Table:
    from repro.tracking.queued import flattened

    rows = [flattened(row) for row in record.curve]
    head = list(dict.fromkeys(name for row in rows for name in row))
    return Table(head, [[row.get(name) for name in head] for row in rows])


def _predictions(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if len(rows) == _PREDICTIONS:
                break
            rows.append(json.loads(line))
    head = list(dict.fromkeys(name for row in rows for name in row))
    return Table(head, [[_short(row.get(name)) for name in head] for row in rows])


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _learning_curve(record: Record) -> bytes | None:
    """Training loss and the value of selection by step; None where there were no evaluations."""
    from repro.report.figures.panels import Figure, Panel, Point, Series
    from repro.report.figures.plotting import draw

    split, metric = str(record.selection.get("split")), str(record.selection.get("metric"))
    panels = []
    for title, values in {
        "training loss": [(row["step"], row.get("train_loss")) for row in record.curve],
        f"{metric} ({split})": [(row["step"], (row.get(split) or {}).get(metric)) for row in record.curve],
    }.items():
        points = tuple(Point(float(step), float(value)) for step, value in values if value is not None)
        if points:
            panels.append(Panel(title, "step", title, (Series("", points, ours=True),)))
    return draw(Figure(record.key, f"Trial {record.key}", tuple(panels)))[0] if panels else None


def of_report(out: Path, names: Iterable[str]) -> Shown:
    """The tables (as their CSV files have them) and figures that a report wrote.

    Args:
        out: the report's folder.
        names: paths of its files below `out`.
    """
    tables, figures = {}, {}
    for name in sorted(names):
        path = out / name
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                head, *lines = list(csv.reader(stream)) or [[]]
            if head and lines:
                tables[path.stem] = Table(head, lines)
        elif path.suffix == ".png":
            figures[path.stem] = path.read_bytes()
    return Shown(tables, figures)
