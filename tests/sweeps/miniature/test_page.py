"""docs/mini.md: its tables are those of the committed reference, and it speaks of every claim that does not hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from repro.papers import registry
from repro.report.claims import miniature
from repro.report.compare.groups import groups
from repro.report.pages.contents import contents
from repro.report.pages.write import texts
from repro.sweeps.miniature import comparison, planning
from repro.sweeps.miniature.page import filled, parts

pytestmark = pytest.mark.skipif(
    not (Path(__file__).resolve().parents[3] / "results" / "mini" / "records").is_dir(),
    reason="the reference is not made yet: `make mini-reference`",
)
ROOT = Path(__file__).resolve().parents[3]
PAGE, REFERENCE = ROOT / "docs" / "mini.md", ROOT / "results" / "mini"


@pytest.fixture(scope="module")
def rows() -> list[miniature.ClaimRow]:
    return miniature.claim_rows(miniature.Settings(groups(comparison.read(REFERENCE))))


def test_the_tables_are_those_of_the_reference() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "<!-- from records: claims -->" in text
    assert filled(text, parts(REFERENCE)) == text, "run `repro mini --results results/mini --page docs/mini.md`"


def test_the_figures_that_it_shows_are_there() -> None:
    shown = re.findall(r"!\[[^\]]*\]\(\.\./(results/mini/[\w/.-]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(shown) >= 3 and all((ROOT / path).is_file() for path in shown)


def test_the_reference_has_every_trial_and_no_other() -> None:
    planned = {trial.key for trial in planning.planned(planning.chosen(short=False), {})}
    records = comparison.read(REFERENCE)
    assert {record.key for record in records} == planned
    assert all(record.status in ("done", "collapsed") for record in records)


def test_every_claim_was_tested(rows: list[miniature.ClaimRow]) -> None:
    assert [row.claim.id for row in rows if row.verdict == "not run"] == []


def test_what_does_not_hold_is_discussed(rows: list[miniature.ClaimRow]) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## What does not hold")[2].partition("\n##")[0]
    discussed = set(re.findall(r"\bM\d+\b", section))
    assert {row.claim.id for row in rows if row.verdict != "holds"} <= discussed


def test_the_report_is_what_the_records_give() -> None:
    found = contents(comparison.read(REFERENCE), registry.cells(), papers=False)
    for name, text in texts(found).items():
        assert (REFERENCE / name).read_text(encoding="utf-8") == text, f"run `make mini-reference`: {name}"
    drawn = {f"{figure.name}.{kind}" for figure in found.figures for kind in ("png", "svg")}
    assert {path.name for path in (REFERENCE / "figures").iterdir()} == drawn


def test_the_numbers_of_the_readme_are_those_of_the_page() -> None:
    """Rounded to one decimal; a mean of one run has no interval."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Two commands")[2].partition("## On real")[0]
    shown = re.findall(r"(\d+\.\d) \[(-?\d+\.\d), (\d+\.\d)\]", readme)
    known = re.findall(r"(\d+\.\d\d) \[(-?\d+\.\d\d), (\d+\.\d\d)\]", PAGE.read_text(encoding="utf-8"))
    assert len(shown) >= 16
    for numbers in shown:
        assert any(
            all(abs(float(one) - float(other)) <= 0.0501 for one, other in zip(numbers, full, strict=True))
            for full in known
        ), numbers
    single = re.findall(r"(\d+\.\d) \(n = 1\)", readme)
    alone = re.findall(r"\*(\d+\.\d\d)\*", PAGE.read_text(encoding="utf-8"))
    assert single and all(any(abs(float(one) - float(other)) <= 0.0501 for other in alone) for one in single)
