"""Beside the reference: equal, within the spread of seeds, outside of it, missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from repro.config.run_key import run_key
from repro.store.record import Record
from repro.sweeps.miniature import comparison


def records(scores: Sequence[float], method: str = "prompt_tuning", status: str = "done") -> list[Record]:
    found = []
    for seed, score in enumerate(scores, 1):
        config: dict[str, Any] = {
            "method": {"name": method, "length": 8},
            "model": {"name": "mini-bert", "paper_name": None},
            "task": {"name": "mini_ner", "paper_name": None, "report_split": "test"},
            "trainer": {"steps": 10},
            "seed": seed,
        }
        metrics = {} if status == "failed" else {"test": {"f1": score}, "validation": {"f1": score + 1}}
        found.append(Record(run_key(config), status, config, seed, metrics=metrics, selection={"metric": "f1"}))
    return found


def verdicts(ours: list[Record], reference: list[Record]) -> list[str]:
    keys = {record.key for record in [*ours, *reference]}
    return [one.verdict for one in comparison.compare(ours, reference, keys)]


@pytest.mark.parametrize(
    ("ours", "reference", "verdict"),
    [
        ([50.0, 52.0, 54.0], [50.0, 52.0, 54.0], comparison.EQUAL),
        ([50.0, 52.0, 54.0], [51.0, 53.0, 55.5], comparison.WITHIN),
        ([50.0, 50.5, 51.0], [90.0, 90.5, 91.0], comparison.OUTSIDE),
        ([50.0], [50.001], comparison.EQUAL),
        ([50.0], [51.0], comparison.ONE_RUN),
        ([50.0, 52.0], [50.0, 52.0, 54.0], comparison.MISSING),
    ],
)
def test_a_cell(ours: list[float], reference: list[float], verdict: str) -> None:
    assert verdicts(records(ours), records(reference)) == [verdict], "one score: that of the reported split"


def test_a_setting_on_one_side_and_a_failed_one() -> None:
    other = records([60.0], "fine_tuning")
    assert verdicts(records([50.0]), records([50.0]) + other) == [comparison.MISSING, comparison.EQUAL]
    assert verdicts(records([50.0]) + other, records([50.0])) == [comparison.NEW, comparison.EQUAL]
    assert verdicts(records([1.0], status="failed"), records([50.0])) == [comparison.MISSING]


def test_trials_that_were_not_asked_for_are_left_out() -> None:
    asked, other = records([50.0]), records([60.0], "fine_tuning")
    assert len(comparison.compare(asked, [*asked, *other], {asked[0].key})) == 1


def test_the_page_says_the_difference_and_leaves_equal_cells_out() -> None:
    ours, reference = records([50.0, 50.5, 51.0]), records([90.0, 90.5, 91.0])
    other = records([60.0], "fine_tuning")
    keys = {record.key for record in [*ours, *other]}
    text = comparison.document(comparison.compare([*ours, *other], [*reference, *other], keys))
    assert "2 scores beside the reference: 1 equal, 1 outside." in text
    assert "| 50.50 | 90.50 | -40.00 [" in text and text.count("| mini_ner") == 1 and "fine_tuning" not in text
