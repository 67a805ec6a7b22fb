"""What the page's cells open to: the paper's source with its caveat, the comparison, and every run behind a number.

Parts of configs that settings share are kept once, so that thousands of runs fit in one page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from repro.papers import registry
from repro.papers.registry import Reported
from repro.report.compare.compare import describe
from repro.report.compare.groups import Group, lookup
from repro.report.compare.our_cells import budget
from repro.report.compare.rows import MISSING, Row
from repro.report.markdown import interval, number
from repro.report.pages.contents import Contents
from repro.report.pages.markdown_report import chosen_checkpoint, command_of, data_of, joined
from repro.report.tables.checklist import revision
from repro.report.tables.exhibits import Filled, Place
from repro.report.tables.own_tables import OwnTable
from repro.store.record import Record

_PARTS = ("method", "model", "task", "trainer", "recipe")
_COUNTS = ("trained", "stored", "frozen")


class PageData:
    """Collects the places of all tables in the order in which the page shows them; `as_json` is what it embeds."""

    def __init__(self, contents: Contents) -> None:
        self._names = contents.names
        self._groups = {group.key: group for group in contents.groups}
        self._indices: dict[str, int] = {}
        self._shown: list[dict[str, Any]] = []
        self._parts: dict[str, int] = {}
        self._part_of: dict[str, int] = {}
        self._places: list[dict[str, Any]] = []

    def exhibit_place(self, exhibit: Filled, row: str, column: str, place: Place) -> int:
        """Adds a place of an exhibit; its index."""
        cell = place.cell
        ours: list[list[str]] = [["verdict", place.verdict]]
        if place.scores:
            ours += [["score", place.ours_text()], ["difference", place.difference_text()]]
            if place.settings > 1:
                ours.append(["chosen", budget(place.settings)])
            ours.append(["why", place.scores[0].comparison.reason if place.printed else "The paper prints no number."])
        else:
            ours.append(
                ["why", "No run agrees with this cell in model, method, task, split, metric and every variable."]
            )
        groups = [self._group(score.group) for score in place.scores]
        title = f"{exhibit.layout.title}: {row}, {column}"
        known = {"method": cell.method, "model": cell.model, "task": cell.task, "verdict": place.verdict}
        return self._add(title, exhibit.layout.paper, known, _source(place), ours, groups)

    def own_place(self, table: OwnTable, row: Row) -> int:
        """Adds a score of ours that stands beside no paper's number; its index."""
        score = MISSING if row.ours is None else f"{number(row.ours)} {interval(row)}, n = {row.n}"
        ours = [["verdict", row.verdict], ["score", f"{row.metric} ({row.split}): {score}"], ["why", row.reason]]
        if row.context:
            ours.append(["nearby in the papers, not compared", row.context])
        method = row.method.partition(" (")[0]
        known = {"method": method, "model": row.model, "task": row.task, "verdict": row.verdict}
        title = f"{table.experiment}: {row.task}, {row.model}, {row.method}"
        return self._add(title, "ours alone", known, None, ours, [self._group(self._groups[row.group])])

    def _add(self, title: str, paper: str, known: Mapping[str, str | None], source: Any, ours: Any, groups: Any) -> int:
        place = {"title": title, "paper": paper, **known, "source": source, "ours": ours, "groups": groups}
        self._places.append(place)
        return len(self._places) - 1

    def _group(self, group: Group) -> int:
        if group.key not in self._indices:
            self._indices[group.key] = len(self._shown)
            self._shown.append(_group_facts(group, self._names[group.key], [self._part(group, p) for p in _PARTS]))
        return self._indices[group.key]

    def _part(self, group: Group, name: str) -> int:
        # Most groups share their parts, and a part is spelt much faster as JSON than line by line.
        node = group.config.get(name)
        spelt = f"{name}: {json.dumps(node)}"
        if spelt not in self._part_of:
            text = "\n".join(_flat_lines(node, name))
            self._part_of[spelt] = self._parts.setdefault(text, len(self._parts))
        return self._part_of[spelt]

    def as_json(self) -> str:
        """JSON for a script element: no `<` in it, so that nothing in it can end the element."""
        whole = {
            "places": self._places,
            "groups": self._shown,
            "parts": list(self._parts),
            "places_of": {"record": "results/records", "runs": "runs"},
        }
        text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _source(place: Place) -> list[list[str]]:
    """Where the paper's number is printed and how far it can be trusted."""
    cell = place.cell
    facts: dict[str, Any] = {
        "value": place.paper_text(),
        "runs in the paper": cell.n_runs,
        "printed in": describe(cell),
        "what kind": registry.KINDS.get(cell.kind, "a plot without numbers"),
        "read as": _precision(cell) if place.printed else None,
        "split and metric": ", ".join(text for text in (cell.split, cell.metric) if text),
        "variables": ", ".join(f"{name} = {value}" for name, value in cell.vars.items()),
        "copies of the paper that agree": cell.independent_sources,
        "caveat": cell.caveat,
        "cell": cell.id,
    }
    return [[name, str(value)] for name, value in facts.items() if value not in (None, "")]


def _precision(cell: Reported) -> str:
    if cell.precision == "figure":
        return f"read off the plot, give or take {cell.plus_minus:g}" if cell.plus_minus else "read off the plot"
    return {"exact": "printed", "text": "from the running text"}[cell.precision]


def _group_facts(group: Group, name: str, parts: list[int]) -> dict[str, Any]:
    first = (group.scored or group.records)[0]
    packages = sorted((first.provenance.get("packages") or {}).items())
    deviations = dict.fromkeys(text for record in group.records for text in record.deviations)
    return {
        "name": f"{group.names['task_name']}, {group.names['model_name']}, {name}",
        "experiment": lookup(group.config, "experiment_name"),
        "recipe": lookup(group.config, "recipe.name") or "none (library defaults)",
        "parameters": joined(f"{first.parameters[k]:,} {k}" for k in _COUNTS if k in first.parameters),
        "data": data_of(first),
        "unknown": ", ".join(lookup(group.config, "recipe.unknown") or ()),
        "packages": joined(f"{k} {v}" for k, v in packages if v),
        "deviations": list(deviations),
        "parts": parts,
        "runs": [_run(record) for record in group.records],
    }


def _run(record: Record) -> dict[str, Any]:
    metric, split = record.selection.get("metric"), lookup(record.config, "task.report_split")
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


def _log(curve: list[dict[str, Any]]) -> dict[str, Any]:
    """The evaluations during training as a table: step, epoch, loss, rate, and every score."""
    flat = [dict(_leaves(row)) for row in curve]
    first = [name for name in ("step", "epoch") if any(name in row for row in flat)]
    head = [*first, *sorted({name for row in flat for name in row} - set(first))]
    return {"curve_head": head, "curve": [[_short(row.get(name)) for name in head] for row in flat]}


def _leaves(node: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name} ")
        else:
            yield f"{path}{name}", value


def _short(value: Any) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.5g}"
    return MISSING if value is None else f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)


def _flat_lines(node: Any, path: str) -> Iterable[str]:
    """`method.length: 32`, one line a value."""
    if isinstance(node, dict) and node:
        for name in sorted(node):
            yield from _flat_lines(node[name], f"{path}.{name}")
    else:
        yield f"{path}: {json.dumps(node, ensure_ascii=False)}"
