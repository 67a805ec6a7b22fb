"""The papers' own arithmetic: the errata that are known, and the rules against brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.cli.main import main
from repro.papers import arithmetic, registry
from repro.papers.arithmetic import findings, nearest_accuracies, validation_rows


def found(paper: str, kind: str) -> dict[str, float]:
    return {one.cell.id.partition("/")[2]: one.arithmetic for one in findings(paper) if one.kind == kind}


def test_errata_of_lester_with_their_arithmetic_values() -> None:
    assert found("lester2021", "erratum") == {
        "T4.small.p20.trainable_parameters": 10240,
        "T4.small.p20.total_parameters": 76971392,
        "T4.large.p100.percent_trainable": 0.01307,
        "T4.xxl.p50.total_parameters": 11135537152,
        "T14.rte.train.entailment": 50.2,
        "T14.rte.train.not_entailment": 48.8,
    }
    assert set(found("lester2021", "truncated")) == {"T4.xl.p20.percent_trainable", "T4.xl.p100.percent_trainable"}


def test_an_erratum_is_never_compared_and_keeps_its_printed_value() -> None:
    ruled_out = {cell.id for cell in registry.cells(paper="lester2021") if not cell.usable}
    assert ruled_out == {one.cell.id for one in findings("lester2021") if one.kind == "erratum"}
    assert registry.cell("lester2021/T4.small.p20.trainable_parameters").value == 10420


def test_impossible_accuracies_of_table_2() -> None:
    assert found("liu2022", "unreachable") == {
        "t2.bert-large.rte.pt": 53.43,
        "t2.roberta-large.wic.ft": 75.55,
        "t2.glm-xlarge.cb.pt": 76.79,
        "t2.glm-xlarge.wic.pt-2": 71.94,
        "t2.glm-xxlarge.cb.ft": 98.21,
    }


def test_scores_of_a_constant_answer() -> None:
    constant = found("liu2022", "constant")
    assert {name for name in constant if "boolq" in name or "wsc" in name} == {
        "t2.roberta-large.boolq.pt",
        "t2.roberta-large.wsc.ft",
        "t2.roberta-large.wsc.pt-2",
    }
    assert sum("squad-20.pt." in name for name in constant) == 6 and len(constant) == 9


def test_the_mean_gain_of_li_and_liang_fits_the_first_edition_only() -> None:
    assert found("liliang2021", "erratum") == {"both-text-avg-gain-over-adapter01": 4.27}
    (only,) = findings("liliang2021")
    assert "edition acl" in only.why


def test_the_averages_of_v1_are_the_means_of_their_rows() -> None:
    """Every printed average was recomputed: 12 + 3 + 8 of them, and those of Lester's Table 3."""
    assert found("liu2021_v1", "erratum") == {}
    averaged = [c for c in registry.cells(paper="liu2021_v1") if arithmetic._is_average(c)]
    assert len(averaged) == 23
    for cell in averaged:
        rows = registry.cells(paper="liu2021_v1", at=cell.at, model=cell.model)
        assert sum(arithmetic._averaged_by(cell, c) for c in rows) == (2 if cell.at == "Table 7" else 9), cell.id


def test_a_wrong_value_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule notices a value that is off: an average, a difference."""
    import dataclasses

    wrong = {"liu2021_v1/t4.bert-base.cls-ft.average.average": 66.5, "lester2021/T1.drop.delta": -2.2}
    real = registry.cells
    monkeypatch.setattr(
        arithmetic,
        "cells",
        lambda **filters: tuple(
            dataclasses.replace(c, value=wrong[c.id]) if c.id in wrong else c for c in real(**filters)
        ),
    )
    for paper, name, right in [
        ("liu2021_v1", "t4.bert-base.cls-ft.average.average", 66.236),
        ("lester2021", "T1.drop.delta", -1.8),
    ]:
        again = {one.cell.id: one for one in findings.__wrapped__(paper) if one.kind == "erratum"}
        assert again[f"{paper}/{name}"].arithmetic == pytest.approx(right, abs=1e-3)


@given(st.integers(1, 400), st.floats(0, 99.99))
def test_nearest_accuracies_are_the_neighbours(rows: int, value: float) -> None:
    below, above = nearest_accuracies(value, rows)
    every = [100 * k / rows for k in range(rows + 2)]
    assert below == pytest.approx(max(one for one in every if one <= value + 1e-6))
    assert above == pytest.approx(min(one for one in every if one > below + 1e-9))


def test_sizes_of_the_validation_sets_come_from_the_registry() -> None:
    sizes = {task: validation_rows(task) for task in ("boolq", "cb", "copa", "rte", "wic", "wsc", "conll03")}
    assert sizes == {"boolq": 3270, "cb": 56, "copa": 100, "rte": 277, "wic": 638, "wsc": 104, "conll03": None}


def test_the_command_prints_the_findings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", "lester2021", "--arithmetic"]) == 0
    out = capsys.readouterr().out
    assert "10,420" in out and "10,240" in out and out.count("\n") == 2 + len(findings("lester2021"))
