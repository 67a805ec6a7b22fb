"""Corrections: each is what the registry says, and the sentence quotes the values of its cells."""

from __future__ import annotations

import re

import pytest

from repro.cli.main import main
from repro.errors import DataError
from repro.papers import corrections as module
from repro.papers import registry
from repro.papers.corrections import corrections, page

KNOWN = {
    "parameters-20480",
    "gpt3-matched-by-xl",
    "squad-em-12",
    "squad-em-880",
    "squad-f1-889",
    "xsum-4292",
    "e2e-697",
}
"""The slips that the notes on the papers list first."""


def test_the_known_slips_are_there() -> None:
    found = {one.id: one for one in corrections()}
    assert set(found) >= KNOWN and len(found) == len(corrections())
    assert {one.paper for one in corrections()} == {"lester2021", "liliang2021", "liu2022"}


@pytest.mark.parametrize("one", corrections(), ids=lambda one: one.id)
def test_each_correction_against_the_cells_by_hand(one: module.Correction) -> None:
    """Read without the predicate language: every `c['id'] == number` is the cell's value."""
    for name, value in re.findall(r"(?:^|and )c\['([^']+)'\] == (-?[\d.]+)", one.right):
        assert registry.cell(name).value == float(value)
        shown = {f"{float(value):g}", f"{float(value):,.0f}", f"{float(value):.1f}", f"{float(value):.2f}"}
        assert any(text in f"{one.quoted} {one.printed}" for text in shown), (name, value)
    for name, value in re.findall(r"^c\['([^']+)'\] == (-?[\d.]+)$", one.wrong or ""):
        assert registry.cell(name).value != float(value)
    assert one.evidence and {cell.paper for cell in one.evidence} <= {one.paper, "liu2021_v1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right": "c['liu2022/t3.bert-large.squad-11.pt.em'] == 1.2"}, "do not say so"),
        ({"wrong": "c['liu2022/t3.bert-large.squad-11.pt.em'] == 1.0"}, "do not say so"),
        ({"right": "c['liu2022/none'] == 1"}, "there is no cell"),
        ({"verdict": "odd"}, "fields are"),
        ({"colour": "green"}, "fields are"),
    ],
)
def test_a_correction_that_the_cells_contradict_is_refused(change: dict, message: str) -> None:
    good = next(one for one in corrections() if one.id == "squad-em-12")
    entry = {name: getattr(good, name) for name in ("id", "paper", "verdict", "quoted", "printed", "right", "wrong")}
    assert module._checked(entry) == good
    with pytest.raises(DataError, match=message):
        module._checked({**entry, **change})


def test_the_command_prints_those_of_a_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", "liliang2021", "--corrections"]) == 0
    out = capsys.readouterr().out
    assert out == page("liliang2021") and "42.92" in out and "20,480" not in out
