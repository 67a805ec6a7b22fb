"""Figures as data, the sentence that stands for each, and drawings that are equal byte for byte."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from repro.papers import registry
from repro.report.figures import plotting
from repro.report.figures.figures import parameters_of
from repro.report.figures.panels import Figure, Panel, Point, Series
from repro.report.pages.contents import contents
from repro.store.record import Record

Make = Callable[..., Record]
STAND_IN: dict[str, Any] = {"model.name": "minilm", "model.paper_name": None, "experiment_name": "offline/ablation"}


def figures(*records: Record) -> dict[str, Figure]:
    return {figure.name: figure for figure in contents(records, registry.cells()).figures}


def points(figure: Figure, ours: bool) -> list[Point]:
    return [point for panel in figure.panels for s in panel.series if s.ours == ours for point in s.points]


def test_the_scale_curve_has_every_point_of_the_paper_with_its_spread() -> None:
    curve = figures()["lester2021-figure1"]
    cells = [cell for cell in registry.cells(paper="lester2021", kind="result") if cell.at.startswith("Figure 1")]
    assert sorted(point.y for point in points(curve, ours=False)) == sorted(cell.number for cell in cells)
    bands = sorted((p.y - p.low, p.high - p.y) for p in points(curve, ours=False) if p.low is not None)
    assert [low for low, _ in bands] == pytest.approx(sorted(cell.spread for cell in cells if cell.spread is not None))
    assert all(low == pytest.approx(high) for low, high in bands)
    assert parameters_of("gpt3-1.3b") == 1.3e9 and parameters_of("gpt3-760m") == 760e6
    # Both T5 families have about the size that their name says.
    for name, low, high in (("t5-small-lm-adapt", 6e7, 9e7), ("t5-v1_1-xxl", 1.05e10, 1.2e10)):
        assert low < parameters_of(name) < high


def test_where_nothing_was_run_the_figure_says_so_and_the_text_alternative_too() -> None:
    found = figures()
    for name, figure in found.items():
        assert points(figure, ours=True) == []
        said = [panel.note for panel in figure.panels]
        assert all("ot run here" in note or "was run here" in note for note in said), (name, said)
        assert all(note in figure.description for note in said)
    assert "90.0 at 11.1B" in found["lester2021-figure1"].description
    assert "rise up to length 200" in found["liliang2021-figure4"].description


def test_a_run_of_the_papers_setting_is_beside_the_papers_point_and_in_the_parity_plot(make: Make) -> None:
    records = [make(seed, 86.0 + seed, change={"method.length": 20}) for seed in (1, 2, 3)]
    found = figures(*records)
    (ours,) = points(found["liu2022-figure4"], ours=True)
    assert (ours.x, ours.y, ours.n) == (20.0, 88.0, 3) and ours.low < 88.0 < ours.high
    pairs = {(point.x, point.y) for point in points(found["parity"], ours=True)}
    (cell,) = registry.cells(
        paper="liu2022", at="Figure 4", task="rte", vars={"prompt_length": 20, "reparameterization": "embedding"}
    )
    # Table 2 does not state its length, so the run is beside that cell too; every pair has our mean.
    assert (cell.number, 88.0) in pairs and {y for _, y in pairs} == {88.0}
    assert "88.0" in found["parity"].description
    assert "ours-ablations" not in found


def test_an_ablation_is_one_panel_with_the_setting_that_another_experiment_shares(make: Make) -> None:
    def runs(length: int, score: float, **change: Any) -> list[Record]:
        whole = STAND_IN | {"method.length": length} | change
        return [make(seed, score + seed, change=whole) for seed in (1, 2)]

    layers = {"experiment_name": "offline/layers", "method.layers": "first:2"}
    records = [*runs(8, 60.0), *runs(32, 70.0), *runs(32, 50.0, **layers)]
    records += runs(32, 55.0, **(layers | {"method.layers": "last:2"}))
    (found,) = [figure for name, figure in figures(*records).items() if name == "ours-ablations"]
    panels = {panel.title.partition(":")[0]: panel for panel in found.panels}
    (length,) = panels["length"].series
    assert [(point.x, point.y) for point in length.points] == [(8.0, 61.5), (32.0, 71.5)]
    assert panels["length"].categories == () and found.stand_in and "not a setting of any paper" in found.description
    # Length 32 on all layers belongs to the other experiment and is the reference of this one.
    by_layers = dict(zip(panels["layers"].categories, panels["layers"].series[0].points, strict=True))
    assert {name: point.y for name, point in by_layers.items()} == {"all": 71.5, "first:2": 51.5, "last:2": 56.5}


def test_a_collapsed_run_is_told(make: Make) -> None:
    change = STAND_IN | {"method.length": 8}
    records = [make(1, 60.0, change=change), make(2, 0.0, status="collapsed", change=change), make(1, change=STAND_IN)]
    figure = figures(*records)["ours-ablations"]
    assert "30.0 at 8 (n = 2, 1 collapsed)" in figure.description
    assert (
        "1 point with a collapsed run" in figure.description and "longer than the frame are cut" in figure.description
    )


# ---- drawings

SERIES = (Series("a_b", (Point(1, 60.0, 55.0, 65.0, 3), Point(10, 70.0)), ours=True), Series("a_b", (), ours=False))
PLAIN = Figure("plain", 'A title with <b> & "quotes"', (Panel("One", "x", "y", SERIES, log_x=True, note="A $note."),))


def test_equal_data_give_equal_bytes_whatever_the_users_settings() -> None:
    import matplotlib

    first = plotting.draw(PLAIN)
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None}):
        assert plotting.draw(PLAIN) == first
        assert matplotlib.rcParams["font.size"] == 20
    assert plotting.draw(Figure("plain", "Another title", PLAIN.panels)) != first
    for mark in (b"Software", b"Creation", b"Date"):
        assert mark not in first[0]
    assert "dc:date" not in first[1]


def test_an_svg_has_title_and_description_and_nothing_that_a_strict_page_forbids() -> None:
    svg = plotting.draw(PLAIN)[1]
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title").text == PLAIN.title
    assert root.find(f"{space}desc").text == PLAIN.description
    assert root.get("role") == "img"
    named = {node.get("id") for node in root.iter()} - {None}
    assert set(root.get("aria-labelledby").split()) <= named
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg)) | set(root.get("aria-labelledby").split())
    assert named == used
    assert not [node.tag for node in root.iter() if node.get("style") or node.tag.endswith(("style", "script"))]
    texts = {"".join(node.itertext()) for node in root.iter(f"{space}text")}
    assert {"a b", "A $note.", "x", "y"} <= texts


def test_what_is_drawn_already_is_taken_and_what_changed_is_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    png, svg = plotting.drawn(PLAIN, tmp_path)
    (tmp_path / "plain.png").write_bytes(png)
    (tmp_path / "plain.svg").write_text(svg, "utf-8")
    calls: list[str] = []
    monkeypatch.setattr(plotting, "draw", lambda figure: calls.append(figure.title) or (b"", ""))
    assert plotting.drawn(PLAIN, tmp_path) == (png, svg) and calls == []
    plotting.drawn(Figure("plain", "Another title", PLAIN.panels), tmp_path)
    (tmp_path / "plain.png").write_bytes(b"of another drawing")
    plotting.drawn(PLAIN, tmp_path)
    assert calls == ["Another title", PLAIN.title]


def test_names_beside_points_do_not_cover_each_other() -> None:
    import matplotlib.figure

    axes = matplotlib.figure.Figure(figsize=(5, 4)).add_subplot()
    axes.set_ylim(0, 100)
    labels = [(1.0, y, f"series {i}", "#000000") for i, y in enumerate((99.0, 98.5, 98.0, 50.0, 50.5))]
    plotting._names(axes, labels)
    scale = 100 / (axes.get_position().height * 4 * 72)
    at = sorted(text.xy[1] + text.get_position()[1] * scale for text in axes.texts)
    assert len(at) == 5 and all(after - before > 5 for before, after in pairwise(at))
    assert at[-1] <= 100
