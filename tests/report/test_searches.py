"""What the report says of searches: the budget with failures, the choice by validation, every value."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from repro.papers import registry
from repro.report.pages.contents import contents
from repro.report.pages.html_report import page
from repro.report.pages.searches import facts, searched, section, settings
from repro.report.pages.write import texts, write_report
from repro.store.record import Record
from repro.store.searches.journal import Sampler, Search, Setting
from repro.store.store import Store

LR = "trainer.optimiser.learning_rate"
GRID = {LR: [1e-3, 1e-2], "method.length": [8, 16]}
Make = Callable[..., Record]


def record(make: Make, rate: float, value: float | None, test: float, length: int = 8, seed: int = 1) -> Record:
    change = {
        LR: rate,
        "method.length": length,
        "recipe.search": GRID,
        "task.report_split": "test",
        "task.metrics": [{"name": "accuracy"}],
        "model.name": "a|<b>",
    }
    made = make(seed, value, change=change, status="done" if value is not None else "failed", reason="NaN")
    return replace(made, metrics={"validation": {"accuracy": value}, "test": {"accuracy": test}} if value else {})


@pytest.fixture
def trials(make: Make) -> list[Record]:
    """The best on test is the worst on validation."""
    return [record(make, 1e-3, 60.0, 99.0), record(make, 1e-2, 70.0, 50.0), record(make, 1e-2, None, 0.0, length=16)]


@pytest.fixture
def search(trials: list[Record]) -> Search:
    values = [{LR: "0.001", "method.length": "8"}, {LR: "0.01", "method.length": "8"}]
    values += [{LR: "0.01", "method.length": "16"}]
    tried = [Setting(i, v, [one.key]) for i, (v, one) in enumerate(zip(values, trials, strict=True))]
    tried += [Setting(3, {LR: "0.5", "method.length": "999"}, [], "method.length=999: too long.")]
    tried += [Setting(4, {LR: "0.002", "method.length": "8"}, ["0123456789abcdef"])]
    space = {LR: "tag(log, interval(1e-4,1))", "method.length": "choice(8,16,999)"}
    sampler = Sampler("random", 7)
    return Search("mine", None, [], space, sampler, [], "maximize", "accuracy", 9, tried)


def test_a_sampler_search_tells_all_of_it(search: Search, trials: list[Record]) -> None:
    found = next(one for one in searched([search], trials) if one.title == search.id)
    said = dict(facts(found))
    assert said["budget"] == "5 of 9 settings tried: 2 with a value, 2 failed, 1 open"
    assert "random (seed 7)" in said["settings"]
    assert f"{LR}=0.01, method.length=8 (70.00)" in said["chosen"] and "validation" in said["chosen"]
    assert said["the chosen setting's score"] == "accuracy 50.00 (test)", "of the setting that validation chose"
    assert "99" not in re.sub(r"[0-9a-f]{16}|999", "", section([found])), "no test score beside the settings"
    quantiles = said["all 2 values of accuracy (validation)"]
    assert quantiles == "least 60.00, quarter 62.50, median 65.00, three quarters 67.50, greatest 70.00"
    assert said["expected best of fewer settings (Dodge et al. 2019)"] == "65.00 of 1, 67.50 of 2"
    rows = settings(found)
    assert [row[0] for row in rows] == ["1", "chosen", "3", "4", "5"]
    assert [row[4].split(" ")[0] for row in rows] == ["done", "done", "failed", "failed", "open"]
    assert "NaN" in rows[2][4] and "too long" in rows[3][4]


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0), (99.0, 1.0, 0.0), (1.0, 99.0, 50.0)])
def test_test_scores_cannot_change_the_choice(search: Search, trials: list[Record], values: tuple[float, ...]) -> None:
    before = searched([search], trials)
    for one, value in zip(trials, values, strict=True):
        if one.metrics:
            one.metrics["test"] = {"accuracy": value}
    after = searched([search], trials)
    assert [one.chosen for one in after] == [one.chosen for one in before]
    assert [replace(one, reported=None) for one in after] == [replace(one, reported=None) for one in before]


def test_a_trial_selected_on_test_is_no_part_of_a_search(search: Search, trials: list[Record]) -> None:
    trials[0].selection = trials[0].selection | {"split": "test", "value": 99.0}
    for one in searched([search], trials):
        chosen = one.tried[one.chosen if one.chosen is not None else -1]
        assert chosen.values[LR] == "0.01" and chosen.outcome.value == 70.0
        [left_out] = [t for t in one.tried if t.values[LR] == "0.001"]
        assert left_out.outcome.status == "failed" and "test split" in str(left_out.outcome.reason)


def test_the_authors_grid_is_told_from_the_records(make: Make, trials: list[Record]) -> None:
    twice = record(make, 1e-3, 64.0, 10.0, seed=2)
    [grid] = searched([], [*trials, twice])
    said = dict(facts(grid))
    assert said["budget"] == "3 of 4 points tried, 2 seeds each: 2 with a value, 1 failed, 0 open"
    assert [(one.values[LR], one.outcome.value) for one in grid.tried] == [
        ("0.001", 62.0),
        ("0.01", 70.0),
        ("0.01", None),
    ]
    assert "liu2022/p_tuning_v2" in said["settings"]
    other = record(make, 1e-3, 90.0, 1.0)
    other.config["trainer"]["epochs"] = 1
    assert len(searched([], [*trials, other])) == 2, "another cell"


def test_losses_choose_the_least(search: Search, trials: list[Record]) -> None:
    found = searched([replace(search, direction="minimize", metric="loss")], trials)[0]
    assert found.chosen == 0 and "the least loss" in dict(facts(found))["chosen"]


def test_the_same_split_twice_is_cautioned(search: Search, trials: list[Record]) -> None:
    for one in trials:
        one.config["task"]["report_split"] = "validation"
    found = searched([search], trials)[0]
    assert found.reported is None and "optimistic" in dict(facts(found))["caution"]


def test_report_page_and_files_have_every_setting(search: Search, trials: list[Record], tmp_path: Path) -> None:
    found = contents(trials, registry.cells(), [search])
    files = texts(found)
    assert files["REPORT.md"].count("## Searches") == 1
    [name] = [name for name in files if name.startswith("tables/search-mine")]
    rows = list(csv.DictReader(io.StringIO(files[name])))
    assert [row["accuracy (validation)"] for row in rows] == ["60.0", "70.0", "", "", ""]
    assert [row["runs"] for row in rows][:3] == [one.key for one in trials]
    shown = page(found, {figure.name: "<svg></svg>" for figure in found.figures})
    assert '<section id="searches">' in shown and "a|<b>" not in shown and search.id in shown
    assert all(one.key in shown for one in trials)

    for one in trials:
        Store(tmp_path / "records").put(one)
    search.write(tmp_path)
    written = write_report(tmp_path / "records", tmp_path)
    assert tmp_path / name in written.paths
    assert [one.title for one in written.contents.searches] == [one.title for one in found.searches]


def test_nothing_searched_is_said() -> None:
    assert "Nothing was searched." in section([])
