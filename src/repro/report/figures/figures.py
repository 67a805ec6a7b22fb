"""The figures as data: panels, series, points and the sentence that describes a figure.

Nothing here draws (`plotting.py` does), so that tests and the text alternative see exactly what the picture shows. The
paper's points and ours are separate series; where nothing of ours was run the panel says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from repro.papers import registry
from repro.report.compare.groups import Group
from repro.report.figures.own_figures import own_figures
from repro.report.figures.panels import Figure, Panel, Point, Series, coordinate, point_of
from repro.report.tables.exhibits import Filled, TableCell
from repro.report.tables.own_tables import OwnTable

__all__ = ["Figure", "figures"]

_NOT_RUN = "Not run here: the paper's points alone."
_DEFAULT = "Not run here: only the default setting has a printed number (Figure 1)."
_NOTHING = "Not run here, and the paper prints no numbers."
_SOME = "The paper's points and ours."
_ONLY_OURS = "Ours alone: the paper prints no numbers."


@dataclass(frozen=True)
class _Drawn:
    """Which exhibits make one figure."""

    name: str
    title: str
    keys: tuple[str, ...]
    x_label: str
    panel_part: int | None = None
    """Which part of a column's label names its panel; None: one panel an exhibit."""
    log_x: bool = True

    @property
    def paper(self) -> str:
        return self.name.partition("-")[0]


_DRAWN = (
    _Drawn(
        "lester2021-figure3",
        "Lester et al. 2021, Figure 3: ablations of prompt tuning",
        ("figure3a", "figure3b", "figure3c", "figure3d"),
        "",
    ),
    _Drawn(
        "liliang2021-figure4",
        "Li and Liang 2021, Figure 4: prefix length",
        ("figure4a", "figure4b"),
        "prefix length",
        panel_part=-1,
    ),
    _Drawn(
        "liliang2021-low-data",
        "Li and Liang 2021, Figures 3 and 6: few training examples",
        ("figure3a", "figure3b", "figure6"),
        "training examples (Figure 6: percent of E2E)",
        panel_part=-1,
    ),
    _Drawn(
        "liu2022-figure3",
        "Liu et al. 2022, Figure 3: which layers get prompts",
        ("figure3",),
        "layers with prompts",
        panel_part=0,
        log_x=False,
    ),
    _Drawn(
        "liu2022-figure4",
        "Liu et al. 2022, Figure 4: prompt length and reparameterisation",
        ("figure4",),
        "prompt length",
        panel_part=0,
    ),
)


def figures(exhibits: Sequence[Filled], own: Sequence[OwnTable], groups: Sequence[Group]) -> list[Figure]:
    """All figures, the papers' first, then those of our own runs."""
    by_key = {(e.layout.paper, e.layout.key): e for e in reversed(exhibits)}
    drawn = [scale_curve(by_key["lester2021", "figure1"])] if ("lester2021", "figure1") in by_key else []
    for spec in _DRAWN:
        shown = [by_key[spec.paper, key] for key in spec.keys if (spec.paper, key) in by_key]
        panels = tuple(panel for exhibit in shown for panel in _panels(spec, exhibit))
        if panels:
            drawn.append(Figure(spec.name, spec.title, panels))
    return [*drawn, parity(exhibits), *own_figures(own, groups)]


# ---- the scale curve


def scale_curve(exhibit: Filled) -> Figure:
    """Score by number of parameters, on a logarithmic axis, with one standard deviation over the paper's runs."""
    series = []
    for column in exhibit.layout.columns:
        cells = [c for row in exhibit.layout.rows if (c := exhibit.cells.get((row, column))) is not None]
        series += _both(column, [(parameters_of(cell.reported.model or ""), cell) for cell in cells])
    panel = Panel("SuperGLUE, validation", "parameters of the model", "SuperGLUE score", tuple(series), log_x=True)
    return Figure("lester2021-figure1", "Lester et al. 2021, Figure 1: the power of scale", (_with_note(panel),))


def parameters_of(model: str) -> float:
    """Parameters of a T5 (Lester et al., Table 4, less the prompt) or of a GPT-3 (its name says them).

    Raises:
        KeyError: any other model.
    """
    if model.startswith("gpt3-"):
        number = model.removeprefix("gpt3-")
        return float(number[:-1]) * {"m": 1e6, "b": 1e9}[number[-1]]
    size = model.removesuffix("-lm-adapt").removeprefix("t5-").removeprefix("v1_1-")
    return _t5_parameters()[size]


def _t5_parameters() -> dict[str, float]:
    counts = registry.cells(paper="lester2021", at="Table 4", metric="total_parameters")
    trained = {c.id: c.number for c in registry.cells(paper="lester2021", at="Table 4", metric="trainable_parameters")}
    return {
        cell.id.split(".")[1]: cell.number - trained[cell.id.replace("total_", "trainable_")]
        for cell in counts
        if cell.vars.get("prompt_length") == 1
    }


# ---- exhibits with rows as the horizontal axis


def _panels(spec: _Drawn, exhibit: Filled) -> list[Panel]:
    """One panel, or one for each distinct part of the column labels; the other parts name the series."""
    members: dict[str, list[tuple[str, str]]] = {}
    for column in exhibit.layout.columns:
        parts = column.split(" / ")
        panel = parts[spec.panel_part] if spec.panel_part is not None else ""
        rest = [part for part in parts if part != panel] if spec.panel_part is not None else parts
        members.setdefault(panel, []).append((" / ".join(rest), column))
    short = exhibit.layout.title.partition(": ")[2] or exhibit.layout.title
    return [_panel(spec, exhibit, f"{short}: {name}" if name else short, columns) for name, columns in members.items()]


def _panel(spec: _Drawn, exhibit: Filled, title: str, columns: Sequence[tuple[str, str]]) -> Panel:
    rows = exhibit.layout.rows
    cells = [(row, exhibit.cells.get((row, column))) for _, column in columns for row in rows]
    used = [row for row in rows if any(r == row and cell is not None for r, cell in cells)]
    numbers = {row: coordinate(row) for row in used}
    numeric = all(number is not None for number in numbers.values())
    axis: Mapping[str, float] = {
        row: number if numeric and number is not None else float(index)
        for index, (row, number) in enumerate(numbers.items())
    }
    series = []
    for label, column in columns:
        here = [(axis[row], cell) for row in used if (cell := exhibit.cells.get((row, column))) is not None]
        series += _both(label, here)
    metric = next((cell.reported.metric for _, cell in cells if cell is not None), "score")
    return _with_note(
        Panel(
            title=title,
            x_label=spec.x_label or title,
            y_label=metric.replace("_", " "),
            series=tuple(series),
            log_x=spec.log_x and numeric and min(axis.values(), default=0) > 0,
            categories=() if numeric else tuple(used),
            ticks=tuple(axis.values()) if numeric else (),
            text=exhibit.layout.unprinted or "",
        )
    )


def _both(label: str, cells: Iterable[tuple[float, TableCell]]) -> list[Series]:
    """The paper's points and ours, as two series; an empty one is kept, so that all panels share their colours."""
    known = list(cells)
    theirs = [
        Point(x, cell.reported.number, _end(cell, -1), _end(cell, 1), cell.reported.n_runs)
        for x, cell in known
        if cell.printed and cell.reported.usable
    ]
    ours = [point for x, cell in known if cell.scores and (point := point_of(x, cell.scores[0])) is not None]
    return [Series(label, tuple(sorted(theirs)), ours=False), Series(label, tuple(sorted(ours)), ours=True)]


def _end(cell: TableCell, sign: int) -> float | None:
    """The paper's value plus or minus its spread."""
    return None if cell.reported.spread is None else cell.reported.number + sign * cell.reported.spread


def _with_note(panel: Panel) -> Panel:
    theirs = any(series.points for series in panel.series if not series.ours)
    ours = any(series.points for series in panel.series if series.ours)
    note = {(True, False): _NOT_RUN, (False, False): _NOTHING, (True, True): _SOME, (False, True): _ONLY_OURS}
    return replace(panel, note=_DEFAULT if theirs and not ours and panel.text else note[theirs, ours])


# ---- parity


def parity(exhibits: Sequence[Filled]) -> Figure:
    """Our mean against the paper's value for every cell that both have, one series a paper."""
    seen: dict[str, TableCell] = {}
    for cell in (cell for exhibit in exhibits for cell in exhibit.cells.values()):
        if cell.printed and cell.scores and cell.scores[0].comparison.difference is not None:
            seen.setdefault(cell.reported.id, cell)
    series = []
    for paper in registry.PAPERS:
        cells = [cell for cell in seen.values() if cell.reported.paper == paper]
        points = (point_of(cell.reported.number, cell.scores[0]) for cell in cells)
        series.append(Series(paper, tuple(sorted(p for p in points if p is not None)), ours=True, joined=False))
    note = "" if seen else "No cell is comparable yet: nothing of the papers' own settings was run here."
    panel = Panel("Ours against the papers'", "the paper's value", "our mean", tuple(series), note=note, diagonal=True)
    return Figure("parity", "Our scores against the papers', every comparable cell", (panel,))
