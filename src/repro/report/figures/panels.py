"""A figure as data, and the sentence that says what it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from repro.report.compare.rows import Score

_SHORT_SERIES = 6
"""Longer series are summarised; shorter ones are listed point by point."""


@dataclass(frozen=True, order=True)
class Point:
    """One score. `low` and `high`: the paper's mean -+ standard deviation, or our 95 % interval; None: one run."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    collapsed: int = 0


@dataclass(frozen=True)
class Series:
    """Points under one label."""

    label: str
    points: tuple[Point, ...]
    ours: bool
    joined: bool = True
    """Whether a line joins them."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    categories: tuple[str, ...] = ()
    """Labels of x = 0, 1, ...; empty: x is a number."""
    note: str = ""
    """What a reader must know, shown in the panel."""
    ticks: tuple[float, ...] = ()
    """Where the numbers of a numeric axis stand; empty: as it comes."""
    text: str = ""
    """What the paper says of a plot whose numbers it does not print; shown where there is nothing to draw."""
    diagonal: bool = False
    """Draw y = x."""

    @property
    def frame(self) -> tuple[float, float] | None:
        """Limits of y where an interval is so wide that the points would be indistinguishable; else None."""
        points = [point for series in self.series for point in series.points]
        if not points:
            return None
        low, high = min(point.y for point in points), max(point.y for point in points)
        span = max(high - low, 5.0)
        ends = [end for point in points for end in (point.low, point.high) if end is not None]
        wide = any(not low - span <= end <= high + span for end in ends)
        return (low - span, high + span) if wide else None

    @property
    def full_note(self) -> str:
        """The note, and that intervals are cut where they are."""
        return f"{self.note} Bars that are longer than the frame are cut." if self.frame else self.note


@dataclass(frozen=True)
class Figure:
    """Panels in one picture."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    stand_in: bool = False
    """Whether it shows our own settings, which are no paper's."""

    @property
    def description(self) -> str:
        """Text alternative: what is shown, with the numbers."""
        kind = " Our own runs on stand-in models: not a setting of any paper." if self.stand_in else ""
        return f"{self.title}.{kind} {' '.join(_sentence(panel) for panel in self.panels)}"


def point_of(x: float, score: Score) -> Point | None:
    """Our score as a point; None where it has no value."""
    summary = score.comparison.summary
    if summary is None:
        return None
    collapsed = sum(record.status == "collapsed" for record in score.group.records)
    return Point(x, summary.mean, summary.low, summary.high, summary.n, collapsed)


def coordinate(label: str) -> float | None:
    """The number that a row's label is, units left out (`100K`, `20 %`); None for words."""
    text = label.strip().removesuffix("%").removesuffix("K").strip()
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _sentence(panel: Panel) -> str:
    shown = [series for series in panel.series if series.points]
    texts = [
        f"{series.label or panel.y_label} ({'ours' if series.ours else 'paper'}): {_listed(series, panel)}"
        for series in shown
    ]
    listed = f"{'; '.join(texts)}. " if texts else ""
    return f"{panel.title} ({panel.y_label} by {panel.x_label}). {listed}{panel.full_note} {panel.text}".strip()


def _listed(series: Series, panel: Panel) -> str:
    points: Sequence[Point] = series.points
    if len(points) <= _SHORT_SERIES:
        return ", ".join(f"{point.y:.1f} at {_x(point.x, panel)}{_runs(point)}" for point in points)
    low, high = min(points, key=lambda p: p.y), max(points, key=lambda p: p.y)
    ends = f"from {points[0].y:.1f} at {_x(points[0].x, panel)} to {points[-1].y:.1f} at {_x(points[-1].x, panel)}"
    extremes = f"lowest {low.y:.1f} at {_x(low.x, panel)}, highest {high.y:.1f} at {_x(high.x, panel)}"
    return f"{len(points)} points {ends}, {extremes}"


def _x(x: float, panel: Panel) -> str:
    if panel.categories:
        return panel.categories[round(x)]
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if x >= size:
            return f"{x / size:.3g}{letter}"
    return f"{x:,.0f}" if x >= 1000 else f"{x:g}"


def _runs(point: Point) -> str:
    collapsed = f", {point.collapsed} collapsed" if point.collapsed else ""
    return f" (n = {point.n}{collapsed})" if point.n else ""
