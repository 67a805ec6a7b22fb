"""Figures of the miniature, as `miniature.yaml` describes them:

figures:
  - name: mini-scale
    title: ...
    panels:
      - title: ...
        x_label: parameters of the model
        x: parameters           # parameters of the model | number (the key itself) | name (the keys as labels)
        keys: [xs, s, m, l]
        series: {fine-tuning: ft, prompt tuning: pt}     # label: family of cells, asked for each key
"""

from __future__ import annotations

from collections.abc import Sequence

from repro.report.claims.miniature import PanelSpec, Settings, content
from repro.report.compare.our_cells import Ours
from repro.report.figures.panels import Figure, Panel, Point, Series

_LOGARITHMIC = 8.0
"""From this ratio of largest to smallest on, a numeric axis is logarithmic."""
_NOTHING = "Not run here."


def figures(settings: Settings) -> list[Figure]:
    """The figures of which something ran."""
    drawn = []
    for spec in content().figures:
        panels = tuple(_panel(panel, settings) for panel in spec["panels"])
        if any(series.points for panel in panels for series in panel.series):
            drawn.append(Figure(spec["name"], spec["title"], panels, stand_in=True))
    return drawn


def _panel(spec: PanelSpec, settings: Settings) -> Panel:
    named = spec["x"] == "name"
    series = []
    for label, family in spec["series"].items():
        line = []
        for index, key in enumerate(spec["keys"]):
            ours = settings.of(settings.cell(family, (key,)))
            if isinstance(ours, Ours):
                line.append(_point(float(index) if named else _x(spec["x"], key, ours), ours))
        series.append(Series(label, tuple(sorted(line)), ours=True, joined=not spec.get("apart", False)))
    points = [point for drawn in series for point in drawn.points]
    xs = sorted({point.x for point in points})
    log = not named and bool(xs) and xs[0] > 0 and xs[-1] / xs[0] >= _LOGARITHMIC
    labels = tuple(str(name) for name in spec.get("labels", spec["keys"])) if named else ()
    return Panel(spec["title"], spec["x_label"], spec["y_label"], tuple(series), log, labels, _note(points))


def _x(kind: str, key: str | float, ours: Ours) -> float:
    """Where a point stands on a numeric axis."""
    if kind == "number":
        return float(key)
    group = ours.groups[0]
    counts = group.scored[0].parameters
    return float(group.trial.model.parameters or counts.get("frozen", 0) + counts.get("trained", 0))


def _point(x: float, ours: Ours) -> Point:
    low, high = ours.interval or (None, None)
    collapsed = sum(record.status == "collapsed" for group in ours.groups for record in group.records)
    return Point(x, ours.value, low, high, ours.n, collapsed)


def _note(points: Sequence[Point]) -> str:
    sizes = sorted({point.n for point in points if point.n is not None})
    if not sizes:
        return _NOTHING
    runs = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"n = {runs} a point" + ("; no interval for one run." if sizes[0] == 1 else "; bars: 95 % intervals.")
