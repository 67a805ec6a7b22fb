"""`repro params`: the papers' counts from the methods' own tensors, errata shown, a wrong number found out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from repro import params
from repro.papers import registry

WIDTHS = {"small": 512, "base": 768, "large": 1024, "xl": 2048, "xxl": 4096}


@pytest.fixture(scope="module")
def table4() -> list[params.Row]:
    return params.lester_rows(registry.cells(paper="lester2021", kind="parameters"))


def test_every_row_of_table_4_is_equal_or_one_of_the_errata(table4: list[params.Row]) -> None:
    assert len(table4) == 90
    for row in table4:
        size, length = row.what.split("-")[1], int(row.what.partition("P=")[2])
        if row.quantity == "trainable_parameters":
            assert row.ours == WIDTHS[size] * length
    odd = [(row.what, row.quantity) for row in table4 if row.verdict != "equal"]
    assert all(row.verdict == "equal" or row.verdict.startswith("erratum") for row in table4), odd
    assert sorted(odd) == [
        ("t5-large-lm-adapt P=100", "percent_trainable"),
        ("t5-small-lm-adapt P=20", "total_parameters"),
        ("t5-small-lm-adapt P=20", "trainable_parameters"),
        ("t5-xxl-lm-adapt P=50", "total_parameters"),
    ]


def test_a_wrong_number_differs() -> None:
    [cell] = [c for c in registry.cells(kind="parameters") if c.id == "lester2021/T4.base.p100.trainable_parameters"]
    [good], [bad] = (params.lester_rows([c]) for c in (cell, replace(cell, value=76_801)))
    assert (good.verdict, good.ours) == ("equal", 76_800) and bad.verdict == "differs"
    [share] = [c for c in registry.cells(kind="parameters") if c.id == "lester2021/T4.xxl.p1.percent_trainable"]
    for value, verdict in ((share.value, "equal"), (float(share.value) * 2, "differs")):
        assert params.lester_rows([replace(share, value=value)])[0].verdict == verdict, "a share in 1e-05 notation"


def test_the_other_papers() -> None:
    rows = params.other_rows()
    numbers = {(row.what, row.quantity): row.ours for row in rows}
    assert numbers[("gpt2-medium: prefix, E2E, P=5", "stored")] == 5 * 2 * 24 * 1024
    assert numbers[("gpt2-medium: FT-top2", "trained")] == 25_194_496
    assert numbers[("gpt2-medium: adapter, 0.1 %", "stored")] == 368_784
    assert numbers[("gpt2-medium: adapter, 3 %", "stored")] == 11_089_152
    assert {row.paper for row in rows} == {"liliang2021", "liu2022"}
    assert not [row for row in rows if row.verdict == "differs"]


def test_one_config_and_bad_input(cli: Any) -> None:
    done = cli("params", "method=lora", "model=tiny-gpt2", "task=e2e", "method.rank=4")
    assert done.code == 0, done.err
    assert "1,024" in done.out and "trained" in done.out
    full = cli("params", "method=fine_tuning", "model=bert-base-cased", "task=rte")
    assert full.code == 0 and "108,310,272" not in full.out.split("frozen")[1] and "108,311,810" in full.out
    assert cli("params", "method=nope").code == 2
    assert cli("params", "--csv", "method=lora").code == 2
    assert cli("params", "method=infix_tuning", "model=tiny-bert", "task=rte").code == 2


def test_the_table_prints(cli: Any) -> None:
    done = cli("params", "--paper", "liu2022", "--csv")
    assert done.code == 0, done.err
    lines = done.out.strip().splitlines()
    assert lines[0] == "paper,what,quantity,ours,paper's,verdict,source" and len(lines) == 4
