"""What a tracker's library must offer, and what of a record it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from repro.store.record import Record

Values = Mapping[str, object]


@dataclass(frozen=True)
class Table:
    """Rows under a head."""

    head: Sequence[str]
    lines: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As Markdown; markup in the data is escaped."""
        head, *lines = ([_cell(text) for text in line] for line in (self.head, *self.lines))
        return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))


def _cell(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.replace("\\", "&#92;").replace("|", "\\|").split())


@dataclass(frozen=True)
class Exhibits:
    """Tables and figures (PNG files) of a report, by name."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)


class Backend(Protocol):
    """Where a tracker's values go. All calls come from one thread; each may raise or block."""

    name: str

    def open(self) -> None:
        """Load the library and begin a run, or continue it."""

    def row(self, values: Values, step: int) -> None:
        """Values of one step, with flat names."""

    def show(self, exhibits: Exhibits) -> None:
        """Tables and figures of a report."""

    def close(self, record: Record | None) -> None:
        """Write the record's summary and flush; None: the trial was interrupted."""


def flattened(values: Values, prefix: str = "") -> dict[str, object]:
    """One level of names: `{"validation": {"accuracy": 1.0}}` becomes `{"validation/accuracy": 1.0}`."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def summary(record: Record | None) -> dict[str, object]:
    """Scores, selection, parameters and cost of a record, with flat names."""
    if record is None:
        return {"status": "interrupted"}
    sections = {"result": record.metrics, "missing": record.missing, "selected": record.selection}
    sections |= {"parameters": record.parameters, "cost": record.cost}
    return {"status": record.status, "reason": record.reason, **flattened(sections)}
