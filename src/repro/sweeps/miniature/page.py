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
from repro.report.compare.groups import lookup
from repro.report.markdown import escape, table_text
from repro.report.pages.contents import Contents, contents
from repro.report.tables import own_tables
from repro.store.store import Store

_PART = re.compile(r"(<!-- from records: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def parts(results: Path) -> dict[str, str]:
    """{name: text} of everything that a page can take from records: `claims`, `cost` and one table an experiment."""
    found = contents(Store(results / "records").records(statistics=False), registry.cells(), papers=False)
    tables = {table.name.removeprefix("ours-"): own_tables.markdown(table) for table in found.own}
    return {"claims": _claims(found), "cost": _cost(found)} | tables


def _claims(found: Contents) -> str:
    lines = []
    for row in found.miniature:
        name, says, of, verdict, why = (escape(text) for text in miniature.texts(row))
        lines.append([name, says, of, f"**{verdict}**", why])
    return f"{miniature.line(found.miniature)}\n\n{table_text(miniature.HEAD, lines)}"


def _cost(found: Contents) -> str:
    records = [record for group in found.groups for record in group.records]
    seconds = sum(record.cost.get("seconds", 0.0) for record in records)
    slowest = max(records, key=lambda record: record.cost.get("seconds", 0.0))
    names = " ".join(str(lookup(slowest.config, f"{part}.name")) for part in ("method", "model", "task"))
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
