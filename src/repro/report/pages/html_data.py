"""The data behind the page's cells: the paper's source with its caveat, the comparison, and every run of a number.

Parts of configs that settings share are kept once, so that thousands of runs fit in one page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from repro.errors import visible
from repro.papers import registry
from repro.papers.registry import Reported
from repro.report.compare.compare import describe
from repro.report.compare.groups import Group
from repro.report.compare.our_cells import budget
from repro.report.compare.rows import MISSING, Row
from repro.report.markdown import interval, number
from repro.report.pages.contents import Contents
from repro.report.pages.markdown_report import chosen_checkpoint, command_of, counts_of, data_of, joined, packages_of
from repro.report.tables.checklist import revision
from repro.report.tables.exhibits import Filled, TableCell
from repro.report.tables.own_tables import OwnTable
from repro.store.record import Record

_PARTS = ("method", "model", "task", "trainer", "recipe")

Facts = dict[str, object]
Pairs = list[tuple[str, str]]
"""(what, text)"""


class PageData:
    """Collects the cells of all tables in the order in which the page shows them; `as_json` is what it embeds."""

    def __init__(self, contents: Contents) -> None:
        self._names = contents.names
        self._groups = {group.key: group for group in contents.groups}
        self._indices: dict[str, int] = {}
        self._shown: list[Facts] = []
        self._parts: dict[str, int] = {}
        self._part_of: dict[str, int] = {}
        self._cells: list[Facts] = []

    def exhibit_cell(self, exhibit: Filled, row: str, column: str, cell: TableCell) -> int:
        """Adds a cell of an exhibit; its index."""
        reported = cell.reported
        ours: Pairs = [("verdict", cell.verdict)]
        if cell.scores:
            ours += [("score", cell.ours_text()), ("difference", cell.difference_text())]
            if cell.settings > 1:
                ours.append(("chosen", budget(cell.settings)))
            ours.append(("why", cell.scores[0].comparison.reason if cell.printed else "The paper prints no number."))
        else:
            why = "No run agrees with this cell in model, method, task, split, metric and every variable."
            ours.append(("why", why))
        facts: Facts = {
            "title": f"{exhibit.layout.title}: {row}, {column}",
            "paper": exhibit.layout.paper,
            "method": reported.method,
            "model": reported.model,
            "task": reported.task,
            "verdict": cell.verdict,
            "source": _source(cell),
            "ours": ours,
            "groups": [self._group(score.group) for score in cell.scores],
        }
        return self._add(facts)

    def own_cell(self, table: OwnTable, row: Row) -> int:
        """Adds a score of ours that stands beside no paper's number; its index."""
        score = MISSING if row.ours is None else f"{number(row.ours)} {interval(row)}, n = {row.n}"
        ours: Pairs = [("verdict", row.verdict), ("score", f"{row.metric} ({row.split}): {score}"), ("why", row.reason)]
        if row.context:
            ours.append(("nearby in the papers, not compared", row.context))
        facts: Facts = {
            "title": f"{table.experiment}: {row.task}, {row.model}, {row.method}",
            "paper": "ours alone",
            "method": row.method.partition(" (")[0],
            "model": row.model,
            "task": row.task,
            "verdict": row.verdict,
            "source": None,
            "ours": ours,
            "groups": [self._group(self._groups[row.group])],
        }
        return self._add(facts)

    def _add(self, facts: Facts) -> int:
        self._cells.append(facts)
        return len(self._cells) - 1

    def _group(self, group: Group) -> int:
        if group.key not in self._indices:
            self._indices[group.key] = len(self._shown)
            self._shown.append(_group_facts(group, self._names[group.key], [self._part(group, p) for p in _PARTS]))
        return self._indices[group.key]

    def _part(self, group: Group, name: str) -> int:
        # Most groups share their parts, and a part is spelt much faster as JSON than line by line.
        node = group.value(name)
        spelt = f"{name}: {json.dumps(node)}"
        if spelt not in self._part_of:
            text = "\n".join(_flat_lines(node, name))
            self._part_of[spelt] = self._parts.setdefault(text, len(self._parts))
        return self._part_of[spelt]

    def as_json(self) -> str:
        """JSON for a script element: no `<` in it, so that nothing in it can end the element."""
        data = {
            "places": self._cells,
            "groups": self._shown,
            "parts": list(self._parts),
            "places_of": {"record": "results/records", "runs": "runs"},
        }
        text = visible(json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
        return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _source(cell: TableCell) -> Pairs:
    """Where the paper's number is printed and how far it can be trusted."""
    reported = cell.reported
    facts: Facts = {
        "value": cell.paper_text(),
        "runs in the paper": reported.n_runs,
        "printed in": describe(reported),
        "what kind": registry.KINDS.get(reported.kind, "a plot without numbers"),
        "read as": _precision(reported) if cell.printed else None,
        "split and metric": ", ".join(text for text in (reported.split, reported.metric) if text),
        "variables": ", ".join(f"{name} = {value}" for name, value in reported.vars.items()),
        "copies of the paper that agree": reported.independent_sources,
        "caveat": reported.caveat,
        "cell": reported.id,
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _precision(cell: Reported) -> str:
    if cell.precision == "figure":
        return f"read off the plot, give or take {cell.plus_minus:g}" if cell.plus_minus else "read off the plot"
    return {"exact": "printed", "text": "from the running text"}[cell.precision]


def _group_facts(group: Group, name: str, parts: list[int]) -> Facts:
    first, trial = (group.scored or group.records)[0], group.trial
    return {
        "name": f"{group.names.task_name}, {group.names.model_name}, {name}",
        "experiment": trial.experiment,
        "recipe": trial.recipe.name or "none (library defaults)",
        "parameters": counts_of(first),
        "data": data_of(first),
        "unknown": ", ".join(trial.recipe.unknown),
        "packages": packages_of(first),
        "deviations": list(dict.fromkeys(text for record in group.records for text in record.deviations)),
        "parts": parts,
        "runs": [_run(record) for record in group.records],
    }


def _run(record: Record) -> Facts:
    metric, split = record.selection.get("metric"), record.trial.task.report_split
    value = record.metrics.get(str(split), {}).get(str(metric))
    metrics = {split: {k: _short(v) for k, v in row.items()} for split, row in record.metrics.items()}
    return {
        "key": record.key,
        "seed": record.seed,
        "status": record.status,
        "reason": record.reason,
        "shown": "no score" if value is None else f"{metric} {value:.2f} ({split})",
        "metrics": metrics,
        "chosen": chosen_checkpoint(record),
        "cost": joined(f"{name} {_short(value)}" for name, value in record.cost.items()),
        "device": record.provenance.get("device"),
        "revision": revision(record),
        "command": command_of(record),
        **_log(record.curve),
    }


def _log(curve: Sequence[Mapping[str, object]]) -> Facts:
    """The evaluations during training as a table: step, epoch, loss, rate, and every score."""
    flat = [dict(_leaves(row)) for row in curve]
    first = [name for name in ("step", "epoch") if any(name in row for row in flat)]
    head = [*first, *sorted({name for row in flat for name in row} - set(first))]
    return {"curve_head": head, "curve": [[_short(row.get(name)) for name in head] for row in flat]}


def _leaves(node: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name} ")
        else:
            yield f"{path}{name}", value


def _short(value: object) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.5g}"
    return MISSING if value is None else f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)


def _flat_lines(node: object, path: str) -> Iterator[str]:
    """`method.length: 32`, one line per value."""
    if isinstance(node, dict) and node:
        for name in sorted(node):
            yield from _flat_lines(node[name], f"{path}.{name}")
    else:
        yield f"{path}: {json.dumps(node, ensure_ascii=False)}"
