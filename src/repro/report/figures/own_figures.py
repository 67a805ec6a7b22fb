"""Figures of our own runs: one-field ablations, and score against trained parameters. None is a paper's setting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from repro.report.compare.groups import Group
from repro.report.compare.rows import Row, natural
from repro.report.figures.panels import Figure, Panel, Point, Series
from repro.report.tables.checklist import varied
from repro.report.tables.own_tables import OwnTable

_FIELD_OF = {"offline/ablation-reparameterisation": "method.reparameterisation"}
"""Experiment: the field it is about, where more than that one varies in it."""
_LOGARITHMIC = 8.0
"""From this ratio of largest to smallest on, a numeric axis is logarithmic."""
_MOST_POINTS = 60
"""An ablation of more settings is a search, and no panel."""
_TOP = 8
"""Most panels of one figure."""


def own_figures(own: Sequence[OwnTable], groups: Sequence[Group]) -> list[Figure]:
    """Ablations in one field, and parameters against score; none where there is no such run."""
    by_key = {group.key: group for group in groups}
    fields = {group.key: group.fields for group in groups}
    rows = {line[0].group: line[0] for table in own for line in table.lines if line[0].ours is not None}
    panels = [p for table in own if (p := _ablation(table, rows, fields, by_key)) is not None]
    drawn = []
    if panels:
        title = "Our ablations, one field at a time"
        drawn.append(Figure("ours-ablations", title, tuple(panels[:_TOP]), stand_in=True))
    costs = _parameters(list(rows.values()))
    if costs:
        drawn.append(Figure("ours-parameters", "Trained parameters against score", tuple(costs[:_TOP]), stand_in=True))
    return drawn


def _ablation(
    table: OwnTable, rows: dict[str, Row], fields: dict[str, dict[str, object]], by_key: dict[str, Group]
) -> Panel | None:
    """A panel of an experiment about one field, with the runs elsewhere that differ from it in that field alone."""
    members = [line[0].group for line in table.lines if line[0].group in rows]
    varying = varied([fields[key] for key in members])
    path = _FIELD_OF.get(table.experiment) or (next(iter(varying)) if len(varying) == 1 else None)
    if path is None or not 2 <= len(members) <= _MOST_POINTS:
        return None
    # The same trial in two experiments runs once: the setting all ablations share is found in one of them only.
    about = {path, *varying}
    others = {key: {name: v for name, v in fields[key].items() if name not in about and v is not None} for key in rows}
    neighbours = [
        key
        for key in rows
        if key not in members
        and any(fields[key].get(path) != fields[m].get(path) and others[key] == others[m] for m in members)
    ]
    keys = sorted([*members, *neighbours], key=lambda key: natural(_value(key, path, varying, fields)))
    first = rows[members[0]]
    labels = tuple(_value(key, path, varying, fields) for key in keys)
    numbers = [float(label) for label in labels if label.replace(".", "", 1).isdigit()]
    numeric = len(numbers) == len(labels)
    points = tuple(_point(numbers[i] if numeric else float(i), rows[key], by_key[key]) for i, key in enumerate(keys))
    name = path.rpartition(".")[2] if path != "method.name" else "method"
    what = first.method.partition(" (")[0] if path != "method.name" else ""
    title = f"{name}: {', '.join(part for part in (first.task, first.model, what) if part)}"
    series = (Series("", points, ours=True, joined=numeric),)
    log = numeric and min(numbers) > 0 and max(numbers) / min(numbers) >= _LOGARITHMIC
    note = _note([rows[key] for key in keys])
    return Panel(title, name, f"{first.metric} ({first.split})", series, log, () if numeric else labels, note)


def _value(key: str, path: str, varying: dict[str, list[str]], fields: dict[str, dict[str, object]]) -> str:
    """The value of the field, and of others that vary with it: `mlp, learning_rate 0.01`."""
    others = [
        f"{name.rpartition('.')[2].replace('_', ' ')} {fields[key].get(name)}" for name in varying if name != path
    ]
    return ", ".join([str(fields[key].get(path)), *others])


def _note(rows: Sequence[Row]) -> str:
    sizes = sorted({row.n for row in rows})
    runs = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    note = f"n = {runs} a point" + ("; no interval for one run." if sizes[0] == 1 else "; bars: 95 % intervals.")
    collapsed = sum("collapsed" in row.status for row in rows)
    return note + (f" {collapsed} point{'s' * (collapsed > 1)} with a collapsed run." if collapsed else "")


def _point(x: float, row: Row, group: Group) -> Point:
    collapsed = sum(record.status == "collapsed" for record in group.records)
    assert row.ours is not None
    return Point(x, row.ours, row.low, row.high, row.n, collapsed)


def _parameters(rows: Sequence[Row]) -> list[Panel]:
    """One panel a (task, model, metric), one series a method."""
    places: dict[tuple[str, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.trained:
            places[row.task, row.model, row.metric, row.split][row.method.partition(" (")[0]].append(row)
    panels = []
    for (task, model, metric, split), methods in sorted(places.items()):
        series = tuple(
            Series(method, tuple(sorted(_priced(row) for row in shown)), ours=True, joined=False)
            for method, shown in sorted(methods.items())
        )
        if sum(len(line.points) for line in series) > 1:
            note = _note([row for shown in methods.values() for row in shown])
            panels.append(
                Panel(f"{task}, {model}", "trained parameters", f"{metric} ({split})", series, True, (), note)
            )
    return panels


def _priced(row: Row) -> Point:
    assert row.ours is not None and row.trained is not None
    return Point(float(row.trained), row.ours, row.low, row.high, row.n, int("collapsed" in row.status))
