"""An exhibit as Markdown, CSV or JSON: the paper's layout, values as printed, and what a reader must know below."""

from __future__ import annotations

import csv
import io
import json

from repro.papers import exhibits, registry
from repro.papers.exhibits import UNPRINTED, Exhibit
from repro.papers.registry import Reported

FORMATS = ("markdown", "csv", "json")
EMPTY = ""
"""A place that the paper leaves empty."""
NOT_PRINTED = "—"
"""A place that the paper shows without a number."""


def render(exhibit: Exhibit, form: str) -> str:
    """An exhibit in one of `FORMATS`."""
    return {"markdown": markdown, "csv": comma_separated, "json": as_json}[form](exhibit)


def printed(cell: Reported) -> str:
    """The value as the paper prints it: trailing zeros kept, thousands grouped, the spread behind `±`."""
    if isinstance(cell.value, str):
        return cell.value
    if isinstance(cell.value, int) or (cell.value == int(cell.value) and abs(cell.value) >= 1000):
        text = f"{cell.value:,.0f}"
    elif isinstance(cell.value, float) and "e" in repr(cell.value):
        text = f"{cell.value:.5f}"
    else:
        text = f"{cell.value:.{registry.printed_decimals(cell)}f}"
    # P-tuning v1 prints a spread that is kept as plus_minus; in a figure plus_minus is the error of reading.
    spread = cell.plus_minus if cell.std is None and cell.precision == "exact" else cell.std
    return text if spread is None else f"{text} ± {spread:g}"


def listing(paper: str) -> str:
    """All exhibits of a paper, one line each."""
    found = [exhibits.exhibit(paper, key) for key in exhibits.keys(paper)]
    width = max(len(one.key) for one in found)
    lines = [f"{one.key.ljust(width)}  {one.title}{_about(one)}" for one in found]
    loaded = registry.load(paper)
    return "\n".join([f"{loaded.title} ({loaded.authors}; {loaded.venue}; arXiv {loaded.arxiv})", "", *lines]) + "\n"


def _about(exhibit: Exhibit) -> str:
    numbers = sum(cell.kind != UNPRINTED for cell in exhibit.cells.values())
    notes = ["no printed values"] if exhibit.unprinted else [f"{numbers} numbers"]
    notes += [f"editions {', '.join(exhibit.editions)}"] if len(exhibit.editions) > 1 else []
    return f" [{'; '.join(notes)}]"


def markdown(exhibit: Exhibit) -> str:
    """Title, grid and notes as GitHub's Markdown."""
    edition = f" (edition {exhibit.edition})" if exhibit.edition else ""
    marks = _marks(exhibit)
    head = ["", *exhibit.columns]
    lines = [head, ["---", *["---:"] * len(exhibit.columns)]]
    for row in exhibit.rows:
        texts = [_text(exhibit.cells.get((row, column)), marks) for column in exhibit.columns]
        lines.append([row, *texts])
    table = "".join(f"| {' | '.join(_escape(text) for text in line)} |\n" for line in lines)
    notes = [exhibit.caption, *([f"No printed values. {exhibit.unprinted}"] if exhibit.unprinted else [])]
    notes += [f"{mark} {text}" for text, mark in marks.items()]
    return f"## {exhibit.title}{edition}\n\n{table}\n" + "".join(f"{note}\n\n" for note in notes).rstrip("\n") + "\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _marks(exhibit: Exhibit) -> dict[str, str]:
    """{caveat: its mark}: one mark for all cells that share a caveat."""
    caveats = dict.fromkeys(cell.caveat for cell in exhibit.cells.values() if cell.caveat)
    return {str(text): f"[{number}]" for number, text in enumerate(caveats, start=1)}


def _text(cell: Reported | None, marks: dict[str, str]) -> str:
    if cell is None:
        return EMPTY
    if cell.kind == UNPRINTED:
        return NOT_PRINTED
    mark = marks.get(cell.caveat or "")
    return printed(cell) + (f" {mark}" if mark else "")


def comma_separated(exhibit: Exhibit) -> str:
    """The grid as CSV: the row's label, then the values as printed."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([" / ".join(exhibit.row_fields), *exhibit.columns])
    for row in exhibit.rows:
        writer.writerow([row, *(_text(exhibit.cells.get((row, column)), {}) for column in exhibit.columns)])
    return stream.getvalue()


def as_json(exhibit: Exhibit) -> str:
    """Every place with all that the registry knows of its cell; numbers as printed and in our unit."""
    places = [
        {"row": row, "column": column, **_facts(exhibit.cells[row, column])}
        for row in exhibit.rows
        for column in exhibit.columns
        if (row, column) in exhibit.cells
    ]
    names = ("paper", "key", "title", "caption", "edition", "editions", "unprinted", "rows", "columns")
    return json.dumps({name: vars(exhibit)[name] for name in names} | {"cells": places}, indent=1) + "\n"


def _facts(cell: Reported) -> dict[str, object]:
    names = ("id", "kind", "model", "method", "task", "split", "metric", "vars", "precision", "plus_minus", "n_runs")
    facts: dict[str, object] = {name: vars(cell)[name] for name in (*names, "caveat")}
    if cell.kind == UNPRINTED:
        return _present(facts | {"value": None})
    number = None if isinstance(cell.value, str) else cell.number
    return _present(facts | {"value": cell.value, "std": cell.std, "printed": printed(cell), "number": number})


def _present(facts: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in facts.items() if value not in (None, {}) or name == "value"}
