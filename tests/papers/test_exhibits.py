"""Layouts of exhibits: every cell of the registry stands in one, and what is printed is what the registry has."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from repro.cli.main import main
from repro.errors import DataError
from repro.papers import exhibits, registry
from repro.papers.exhibits import UNPRINTED, exhibit, keys, members
from repro.papers.rendering import FORMATS, NOT_PRINTED, as_json, comma_separated, markdown, printed, render

EVERY = [(paper, key) for paper in registry.PAPERS for key in keys(paper)]


def test_every_cell_of_the_registry_stands_in_an_exhibit() -> None:
    shown = {name for paper, key in EVERY for name in members(paper, key)}
    assert shown == {cell.id for cell in registry.cells()}


def test_the_exhibits_that_the_papers_are_known_for_are_there() -> None:
    assert set(keys("lester2021")) >= {"figure1", *(f"figure3{x}" for x in "abcd"), "figure4"}
    assert set(keys("lester2021")) >= {f"table{n}" for n in range(1, 6)}
    assert set(keys("liliang2021")) >= {
        "table2",
        "table3",
        "table4",
        "table5",
        "figure3a",
        "figure4a",
        "figure5",
        "figure6",
    }
    assert set(keys("liu2022")) >= {"table2", "table3", "table4", "figure3", "figure4"}
    assert set(keys("liu2021_v1")) >= {"table3", "table4", "table5", "table7", "table8"}


@pytest.mark.parametrize(("paper", "key"), EVERY)
def test_a_grid_is_whole(paper: str, key: str) -> None:
    found = exhibit(paper, key)
    assert len(set(found.rows)) == len(found.rows) and len(set(found.columns)) == len(found.columns)
    assert {row for row, _ in found.cells} == set(found.rows)
    assert {column for _, column in found.cells} == set(found.columns)
    assert "" not in found.rows and "" not in found.columns
    for cell in found.cells.values():
        assert cell.paper == paper
        assert (cell.kind == UNPRINTED) <= (found.unprinted is not None)
        if cell.kind == UNPRINTED:
            # What stands there in the registry would be compared with it; an unknown name would never match.
            assert cell.metric == "percent_trainable" or cell.our_metric, cell.id
            assert cell.split is None or cell.our_split, cell.id
            with pytest.raises(DataError):
                _ = cell.number


def test_figure_1_by_hand() -> None:
    found = exhibit("lester2021", "figure1")
    assert found.rows[:5] == ("Small", "Base", "Large", "XL", "XXL")
    assert [found.cells[row, "prompt tuning"].value for row in found.rows[:5]] == [58.5, 63.7, 75.8, 80.3, 90.0]
    assert [found.cells[row, "model tuning"].value for row in found.rows[:5]] == [62.8, 73.7, 81.3, 83.1, 89.9]
    assert ("GPT-3 175B", "prompt tuning") not in found.cells


def test_editions_are_told_apart() -> None:
    values = {}
    for edition in ("acl", "v1"):
        found = exhibit("liliang2021", "table2", edition)
        assert found.edition == edition and found.editions == ("acl", "v1")
        assert len(found.cells) == 151  # 7 rows of 20 values and 11 of published results
        values[edition] = found.cells["GPT-2 medium / prefix / 0.1 %", "E2E / BLEU"].value
        assert not any(cell.edition not in (edition, "both") for cell in found.cells.values())
    assert values == {"acl": 70.3, "v1": 69.7}
    assert exhibit("liliang2021", "table2").edition == "acl"


def test_a_figure_without_values_says_so_and_knows_its_default_setting() -> None:
    found = exhibit("lester2021", "figure3a")
    assert found.rows == ("1", "5", "20", "100", "150")
    assert found.cells["100", "XL"].id == "lester2021/F1.prompt_tuning.xl"
    other = found.cells["5", "Base"]
    assert (other.kind, other.model, other.vars["prompt_length"]) == (UNPRINTED, "t5-base-lm-adapt", 5)
    page = markdown(found)
    assert "No printed values." in page and page.count(NOT_PRINTED) == 20
    assert exhibit("lester2021", "figure3c").cells["span corruption and sentinel", "XL"].model == "t5-v1_1-xl"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lester2021/F1.prompt_tuning.xl", "80.3 ± 3.35"),
        ("lester2021/T4.xxl.p100.trainable_parameters", "409,600"),
        ("lester2021/T4.xxl.p1.percent_trainable", "0.00004"),
        ("liliang2021/both-bart-large-prefix-2%-xsum-test-rouge1", "43.80"),
        ("liliang2021/both-gpt2-medium-fine-tune-full-webnlg-test-unseen-meteor", "0.30"),
        ("liu2021_v1/t5.prompt-tuning.rte.accuracy", "54.42 ± 3.05"),
        ("liu2022/text.3", "<20"),
    ],
)
def test_values_are_printed_as_in_the_paper(name: str, text: str) -> None:
    assert printed(registry.cell(name)) == text


@pytest.mark.parametrize(("paper", "key"), EVERY)
def test_the_three_formats_hold_the_same_values(paper: str, key: str) -> None:
    found = exhibit(paper, key)
    places = {(place["row"], place["column"]): place for place in json.loads(as_json(found))["cells"]}
    assert set(places) == set(found.cells)
    table = list(csv.reader(io.StringIO(comma_separated(found))))
    assert table[0][1:] == list(found.columns) and [line[0] for line in table[1:]] == list(found.rows)
    lines = [line for line in markdown(found).splitlines() if line.startswith("|")][2:]
    for row, line, shown in zip(found.rows, table[1:], lines, strict=True):
        texts = [text.strip() for text in re.split(r"(?<!\\)\|", shown)[2:-1]]
        for column, text, marked in zip(found.columns, line[1:], texts, strict=True):
            cell = found.cells.get((row, column))
            expected = "" if cell is None else NOT_PRINTED if cell.kind == UNPRINTED else printed(cell)
            assert text == expected and marked.partition(" [")[0] == expected.replace("*", "\\*")
            if cell is not None:
                assert places[row, column]["value"] == (None if cell.kind == UNPRINTED else cell.value)


def test_bad_requests_are_sentences() -> None:
    with pytest.raises(DataError, match="no exhibit 'figure9': it has figure1"):
        exhibit("lester2021", "figure9")
    with pytest.raises(DataError, match="no edition 'v7'; there is acl, v1"):
        exhibit("liliang2021", "table2", "v7")
    with pytest.raises(DataError, match="there is only one"):
        exhibit("liu2022", "table2", "acl")
    with pytest.raises(DataError, match="the papers are"):
        keys("lester2020")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ["model"]}, "stand in one place"),
        ({"row_order": ["SQuAD / Wiki"]}, "must list just the labels"),
        ({"colour": "green"}, "unknown colour"),
    ],
)
def test_a_broken_layout_is_refused(change: dict, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = exhibits._layouts("lester2021")
    broken = {**layouts, "exhibits": {"table1": {**layouts["exhibits"]["table1"], **change}}}
    monkeypatch.setattr(exhibits, "_layouts", lambda paper: broken)
    with pytest.raises(DataError, match=message):
        exhibit.__wrapped__("lester2021", "table1")


# ---- the command


def test_the_command_lists_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", "lester2021"]) == 0
    listed = capsys.readouterr().out
    assert all(key in listed for key in keys("lester2021")) and "[no printed values]" in listed
    for format in FORMATS:
        assert main(["paper", "liliang2021", "--exhibit", "table2", "--edition", "v1", "--format", format]) == 0
        assert capsys.readouterr().out == render(exhibit("liliang2021", "table2", "v1"), format)
    assert main(["paper", "lester2020"]) == 2
    assert "the papers are lester2021" in capsys.readouterr().err
    assert main(["paper", "liliang2021", "--edition", "v1"]) == 2
    assert "add --exhibit" in capsys.readouterr().err
