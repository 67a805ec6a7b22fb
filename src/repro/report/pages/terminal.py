"""The comparison as a table in a terminal; plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from repro.errors import visible
from repro.report.compare.rows import MISSING, Row
from repro.report.markdown import number
from repro.report.pages.contents import Contents
from repro.report.pages.markdown_report import status_line

_MOST_ROWS = 40
"""More rows than that are in the files, not in the terminal."""
_HEAD = ("task", "model, method", "metric", "ours", "runs", "paper", "difference", "verdict")


def print_summary(contents: Contents, out: Path, file: TextIO | None = None) -> None:
    """What the store holds, our scores (those beside a paper's number first of all), and where the files are.

    Args:
        contents: what was reported.
        out: the folder that the files were written to.
        file: where to print; None: standard output.
    """
    stream = file or sys.stdout
    compared = [row for row in contents.rows if row.theirs is not None]
    shown = contents.rows if len(contents.rows) <= _MOST_ROWS else compared[:_MOST_ROWS]
    print_report(shown, stream)
    if len(shown) < len(contents.rows):
        print(f"({len(contents.rows) - len(shown)} more scores are in the files)", file=stream)
    verdicts = Counter(row.verdict for row in contents.rows)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"\n{status_line(contents.groups)} Scores: {counts}.", file=stream)
    for name in ("REPORT.md", "index.html", "tables/", "figures/"):
        print(f"wrote {out / name}", file=stream)


def print_report(table: Sequence[Row], file: TextIO | None = None) -> None:
    """The rows in a terminal, as wide as it is; one plain line a row where the output is no terminal.

    Args:
        file: where to print; None: standard output.
    """
    stream = file or sys.stdout
    lines = [_texts(row) for row in table]
    if not stream.isatty():
        widths = [max(len(line[i]) for line in [list(_HEAD), *lines]) for i in range(len(_HEAD))]
        for line in [list(_HEAD), *lines]:
            print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip(), file=stream)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    for name in _HEAD:
        shown.add_column(name, overflow="fold")
    for line, row in zip(lines, table, strict=True):
        style = "dim" if row.n < 2 else "yellow" if "collapsed" in row.status or "failed" in row.status else ""
        shown.add_row(*(Text(text, style=style) for text in line))
    Console(file=stream).print(shown)


def _texts(row: Row) -> list[str]:
    ours = number(row.ours) + ("" if row.spread is None else f" ± {row.spread:.2f}")
    theirs = MISSING if row.theirs is None else f"{number(row.theirs)} ({row.source})"
    texts = [row.task, f"{row.model}, {row.method}", f"{row.metric} ({row.split})", ours, row.status, theirs]
    return [*map(visible, texts), number(row.difference, sign="+"), row.verdict]
