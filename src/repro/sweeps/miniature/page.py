"""The parts of docs/mini.md that come from records: `repro mini --page docs/mini.md` writes them, a test compares.

A part stands between `<!-- from records: NAME -->` and `<!-- end -->`; all else on the page is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from repro.errors import DataError
from repro.papers import registry
from repro.report.claims import miniature
from repro.report.compare.rows import MISSING, Row
from repro.report.markdown import escape, interval, number, table_text
from repro.report.pages.contents import Contents, contents
from repro.report.tables.own_tables import OwnTable
from repro.store.store import Store

_PART = re.compile(r"(<!-- from records: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def parts(results: Path) -> dict[str, str]:
    """{name: text} of everything that a page can take from records: `claims`, `cost` and one table an experiment."""
    report = contents(Store(results / "records").records(statistics=False), registry.cells(), papers=False)
    tables = {table.name.removeprefix("ours-"): _scores(table) for table in report.own}
    return {"claims": _claims(report), "cost": _cost(report)} | tables


def _claims(report: Contents) -> str:
    lines = []
    for row in report.miniature:
        texts = (row.claim.id, row.claim.sentence, ", ".join(row.claim.of))
        lines.append([*(escape(text) for text in texts), f"**{row.verdict}**"])
    return f"{miniature.line(report.miniature)}\n\n{table_text(['claim', 'in miniature', 'of', 'verdict'], lines)}"


def _scores(table: OwnTable) -> str:
    """A row a method, a column a task and model; a cell is the last metric of its line, the task's main one."""
    lines = {(line[0].method, line[0].task, line[0].model): line[-1] for line in table.lines}
    methods, settings = dict.fromkeys(key[0] for key in lines), dict.fromkeys(key[1:] for key in lines)
    head = [
        ", ".join((*setting, lines[next(key for key in lines if key[1:] == setting)].metric)) for setting in settings
    ]
    rows = [[escape(method), *(_score(lines.get((method, *setting))) for setting in settings)] for method in methods]
    return table_text(["", *map(escape, head)], rows)


def _score(row: Row | None) -> str:
    """Mean and interval; in italics that of one run."""
    if row is None:
        return MISSING
    return f"*{number(row.ours)}*" if row.n == 1 else escape(f"{number(row.ours)} {interval(row)}")


def _cost(found: Contents) -> str:
    records = [record for group in found.groups for record in group.records]
    seconds = sum(record.cost.get("seconds", 0.0) for record in records)
    slowest = max(records, key=lambda record: record.cost.get("seconds", 0.0))
    names = f"{slowest.trial.method.name} {slowest.trial.model.name} {slowest.trial.task.name}"
    return (
        f"{len(records)} trials, {seconds:,.0f} seconds of one core each counted from its start to its record; the "
        f"longest is {names} with {slowest.cost.get('seconds', 0.0):.0f} seconds.\n"
    )


def filled(text: str, known: Mapping[str, str]) -> str:
    """A page with its parts from records.

    Raises:
        DataError: it asks for a part that there is not.
    """
    asked = [name for _, name, _ in _PART.findall(text)]
    if missing := sorted(set(asked) - set(known)):
        raise DataError(f"the page asks for {', '.join(missing)}; the records give {', '.join(sorted(known))}.")
    return _PART.sub(lambda part: f"{part[1]}{known[part[2]]}{part[3]}", text)
