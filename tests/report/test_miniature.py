"""Claims in miniature: which runs a cell is, verdicts against sums written out, figures, and where they are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repro.errors import DataError
from repro.papers import registry
from repro.report.claims import miniature
from repro.report.compare.groups import groups
from repro.report.figures import miniature_figures
from repro.report.pages.contents import Contents, contents
from repro.report.pages.html_report import page
from repro.report.pages.markdown_report import document
from repro.store.record import Record

Make = Callable[..., Record]
TEXT = """
sets: {sizes: [xs, s]}
cells:
  pt: {method: prompt_tuning, model: "mini-t5-{0}", task: mini_rte, metric: accuracy,
       where: {method.length: "8", trainer.steps: not 0}}
  ft: {method: fine_tuning, model: "mini-t5-{0}", task: mini_rte, metric: accuracy, split: test}
claims:
  - id: M1
    of: [lester2021 C2, lester2021 C2b]
    sentence: The gap shrinks.
    reading: by 5 points
    holds: "(ft[xs] - pt[xs]) - (ft[s] - pt[s]) >= 5"
    shows: {gaps: "[(s, ft[s] - pt[s]) for s in sizes]"}
  - {id: M2, of: [lester2021 C3], sentence: It rises., holds: "pt[s] > pt[xs]"}
figures:
  - name: mini-scale
    title: Scale
    panels:
      - {title: RTE, x_label: parameters, y_label: accuracy, x: parameters, keys: [xs, s],
         series: {fine-tuning: ft, prompt tuning: pt}}
      - {title: by name, x_label: size, y_label: accuracy, x: name, keys: [xs, s], series: {prompt tuning: pt}}
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """written(text): these are the claims in miniature."""

    def write(text: str) -> None:
        (tmp_path / "miniature.yaml").write_text(text)
        monkeypatch.setattr(miniature, "FILE", tmp_path / "miniature.yaml")
        miniature.content.cache_clear()

    yield write
    miniature.content.cache_clear()


@pytest.fixture
def run(make: Make) -> Callable[..., list[Record]]:
    """run(method, size, scores, **change): one record a score, seeds 1, 2, ..."""

    def build(method: str, size: str, scores: list[float], change: dict[str, Any] | None = None) -> list[Record]:
        own = {
            "method.name": method,
            "method.length": 8,
            "model": {"name": f"mini-t5-{size}", "paper_name": None, "parameters": {"xs": 1000, "s": 20000}[size]},
            "task.name": "mini_rte",
            "task.paper_name": None,
            "task.report_split": "test",
            "recipe.paper": None,
            "experiment_name": "mini/scale",
        }
        return [make(seed, score, split="test", change=own | (change or {})) for seed, score in enumerate(scores, 1)]

    return build


def rows(records: list[Record]) -> list[miniature.ClaimRow]:
    return miniature.claim_rows(miniature.Settings(groups(records)))


def everything(run: Callable[..., list[Record]]) -> list[Record]:
    """Gaps of 30 at xs and 10 at s, with spreads so small that the draws agree."""
    xs = run("fine_tuning", "xs", [80.0, 80.1, 79.9]) + run("prompt_tuning", "xs", [50.0, 50.1, 49.9])
    return xs + run("fine_tuning", "s", [90.0, 90.1, 89.9]) + run("prompt_tuning", "s", [80.0, 80.1, 79.9])


def test_verdicts_and_numbers(written: Any, run: Callable[..., list[Record]]) -> None:
    written(TEXT)
    first, second = rows(everything(run))
    assert (first.verdict, second.verdict) == ("holds", "holds") and first.share == 1.0
    shown = re.search(r"gaps: xs ([\d.]+) \[.*\], s ([\d.]+) \[.*3 runs a cell", first.why)
    assert shown is not None  # means over the draws: near the gaps of the seeds' means
    assert [float(gap) for gap in shown.groups()] == pytest.approx([30, 10], abs=0.1)
    assert {cell.name: ours and round(ours.value, 6) for cell, ours in first.cells} == {
        "ft[xs]": 80.0, "pt[xs]": 50.0, "ft[s]": 90.0, "pt[s]": 80.0,
    }  # fmt: skip
    assert miniature.line([first, second]).startswith("2 claims in miniature: 2 holds, 0 fails")
    says = miniature.texts(first)
    assert says[:4] == ["M1", "The gap shrinks. (Our reading: by 5 points.)", "lester2021 C2, lester2021 C2b", "holds"]


def test_a_claim_fails_is_undecided_or_not_run(written: Any, run: Callable[..., list[Record]]) -> None:
    written(TEXT)
    lower = run("prompt_tuning", "xs", [90.0, 90.1]) + run("prompt_tuning", "s", [80.0, 80.1])
    assert [row.verdict for row in rows(lower)] == ["not run", "fails"]
    wide = run("prompt_tuning", "xs", [10.0, 90.0]) + run("prompt_tuning", "s", [20.0, 95.0])
    missing, crossing = rows(wide)
    assert crossing.verdict == "undecided" and crossing.share is not None and 0.05 < crossing.share < 0.95
    assert "no run of ft[xs], no run of ft[s]" in missing.why
    assert rows([]) == []


def test_one_run_is_marked(written: Any, run: Callable[..., list[Record]]) -> None:
    written(TEXT)
    row = rows(run("prompt_tuning", "xs", [50.0]) + run("prompt_tuning", "s", [60.0]))[1]
    assert row.one_run and miniature.texts(row)[3] == "holds (one run)" and "no interval" in row.why


def test_other_settings_do_not_count_and_two_of_ours_are_ambiguous(
    written: Any, run: Callable[..., list[Record]]
) -> None:
    written(TEXT)
    own = everything(run)
    longer = run("prompt_tuning", "s", [1.0], {"method.length": 9})
    by_hand = run("prompt_tuning", "s", [2.0], {"trainer.steps": 7, "experiment_name": None})
    untrained = run("prompt_tuning", "s", [3.0], {"trainer.steps": 0})
    assert [row.verdict for row in rows(own + longer + by_hand + untrained)] == ["holds", "holds"]
    twice = run("prompt_tuning", "s", [2.0], {"trainer.steps": 7})
    first, _ = rows(own + twice)
    assert first.verdict == "not run" and "2 settings agree with pt[s]" in first.why


def test_figures_have_the_points(written: Any, run: Callable[..., list[Record]]) -> None:
    written(TEXT)
    [figure] = miniature_figures.figures(miniature.Settings(groups(everything(run))))
    scale, named = figure.panels
    assert [(s.label, [(p.x, round(p.y, 6), p.n) for p in s.points]) for s in scale.series] == [
        ("fine-tuning", [(1000.0, 80.0, 3), (20000.0, 90.0, 3)]),
        ("prompt tuning", [(1000.0, 50.0, 3), (20000.0, 80.0, 3)]),
    ]
    assert scale.log_x and figure.stand_in and not named.log_x and named.categories == ("xs", "s")
    assert [point.x for point in named.series[0].points] == [0.0, 1.0]
    low, high = scale.series[0].points[0].low, scale.series[0].points[0].high
    assert low is not None and high is not None and low < 80 < high


def made(records: list[Record], papers: bool) -> Contents:
    return contents(records, registry.cells(), papers=papers)


def test_where_they_are_shown(written: Any, run: Callable[..., list[Record]]) -> None:
    written(TEXT)
    alone = made(everything(run), papers=False)
    text = document(alone)
    assert text.startswith("# The papers in miniature\n") and "## Claims in miniature" in text
    assert "| M1 | The gap shrinks." in text and "## Exhibits" not in text and "## Claims\n" not in text
    html = page(alone, {figure.name: "<svg></svg>" for figure in alone.figures})
    assert '<section id="miniature">' in html and '<section id="exhibits">' not in html
    both = document(made(everything(run), papers=True))
    assert both.startswith("# Our numbers beside the papers'\n") and "## Claims in miniature" in both
    claims = both.partition("## Claims\n")[2].partition("\n## ")[0]
    assert "| M1 |" not in claims and "| lester2021 C2 |" in claims
    assert {row.ours for row in made(everything(run), papers=True).claims} == {"not run"}, "never in a paper's row"


def test_a_report_without_runs_of_the_miniature_does_not_mention_it(written: Any, make: Make) -> None:
    written(TEXT)
    found = made([make()], papers=True)
    assert not found.miniature and "in miniature" not in document(found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lester2021 C2b", "lester2021 C99", "C99"),
        ("id: M2", "id: M1", "twice"),
        ("metric: accuracy, split: test", "split: test", "cell ft"),
        ("sentence: The gap shrinks.", "sentences: The gap shrinks.", "M1"),
    ],
)
def test_a_file_that_breaks_the_format_is_refused(written: Any, old: str, new: str, message: str) -> None:
    written(TEXT.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        miniature.content()


def test_every_claim_of_the_file_reads_cells_that_exist_and_is_not_run_without_runs() -> None:
    miniature.content.cache_clear()
    nothing = miniature.Settings([])
    found = [miniature._row(claim, nothing) for claim in miniature.content().claims]
    assert len(found) >= 15 and {row.verdict for row in found} == {"not run"}
    assert all(row.cells for row in found) and miniature_figures.figures(nothing) == []
    papers = {of.partition(" ")[0] for row in found for of in row.claim.of}
    assert papers == {"lester2021", "liliang2021", "liu2022"}
