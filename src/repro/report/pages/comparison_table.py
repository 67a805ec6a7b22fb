"""The comparison as Markdown and CSV: rows beside a paper's number, with verdict and reason, and what has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from repro.report.compare.rows import Row
from repro.report.markdown import counted, csv_text, escape, interval, number, status, table_text


def markdown(table: Sequence[Row]) -> str:
    """The rows that stand beside a paper's number as a table, and the reasons below it."""
    compared = [row for row in table if row.theirs is not None]
    if not compared:
        return "No run of ours agrees with a cell of a paper in every respect yet.\n"
    head = ["", "paper", "task", "model", "method", "metric", "ours (mean)", "spread (std)", "n", "95 % interval"]
    head += ["paper's value", "source", "difference", "verdict", "runs"]
    lines = [[str(index), *_texts(row)] for index, row in enumerate(compared, 1)]
    notes = "".join(f"{index}. {escape(row.reason)}\n" for index, row in enumerate(compared, 1))
    return f"{table_text(head, lines)}\n{notes}"


def _texts(row: Row) -> list[str]:
    texts = [row.paper, row.task, row.model, row.method, f"{row.metric} ({row.split})", number(row.ours)]
    texts += [number(row.spread), counted(row), interval(row), number(row.theirs), row.source]
    return [escape(text) for text in [*texts, number(row.difference, sign="+"), row.verdict, status(row)]]


def reasons(table: Sequence[Row]) -> str:
    """Why rows stand beside no paper's number, and what the papers have nearby: one point a reason."""
    by_reason: dict[tuple[str, str], list[Row]] = {}
    for row in table:
        if row.theirs is None:
            by_reason.setdefault((row.reason, row.context), []).append(row)
    lines = []
    for (reason, context), rows in by_reason.items():
        names = dict.fromkeys(f"{row.task}, {row.model}, {row.method.partition(' (')[0]}, {row.metric}" for row in rows)
        near = f" Nearby in the papers, as context only: {context}." if context else ""
        lines.append("- " + escape(f"{'; '.join(names)}: {reason}{near}") + "\n")
    return "".join(lines)


def comma_separated(table: Sequence[Row]) -> str:
    """All rows as CSV: full numbers, empty where there is none, deviations joined by ` ; `."""
    names = [field.name for field in fields(Row) if field.name not in ("group", "keys")]
    values = ([vars(row)[name] for name in names] for row in table)
    lines = ([" ; ".join(value) if isinstance(value, tuple) else value for value in line] for line in values)
    return csv_text(names, lines)
