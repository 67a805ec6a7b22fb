"""Claims on our runs: the same rules of comparison, verdicts by draws, and `repro check`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.cli.main import main
from repro.papers import registry, statistics
from repro.papers.claims import claims
from repro.report.claims.claims import FAILS, HOLDS, NOT_RUN, UNDECIDED, ClaimRow, as_data, claim_rows
from repro.report.compare.groups import groups
from repro.report.compare.our_cells import SUPERGLUE, Results, rank
from repro.store.record import Record
from repro.store.store import Store

Make = Callable[..., Record]
PT = {"method.name": "prompt_tuning", "method.initialisation": "class_label", "method.length": 100}
FT = {"method.name": "fine_tuning", "method.length": None}


def lester(make: Make, size: str, task: str, seed: int, scores: dict[str, float], **change: Any) -> Record:
    """A run of prompt tuning (or, with FT, of model tuning) on a SuperGLUE task."""
    tuned = change.get("method.name") == "fine_tuning"
    model = f"t5-v1_1-{size}" if tuned else f"t5-{size}-lm-adapt"
    fields = {**PT, "model.paper_name": model, "model.name": model, "task.name": task, "task.paper_name": task}
    fields |= {"recipe.paper": "lester2021", "recipe.name": f"lester2021/{task}", "experiment_name": None} | change
    return make(seed, metrics={"validation": scores}, change=fields)


def superglue(make: Make, size: str, level: float, seeds: tuple[int, ...] = (1, 2, 3), **change: Any) -> list[Record]:
    """Runs of all eight tasks whose scores are `level`, give or take the seed."""
    return [
        lester(make, size, task, seed, dict.fromkeys(metrics, level + 0.1 * seed), **change)
        for task, metrics in SUPERGLUE.items()
        for seed in seeds
    ]


def row(rows: list[ClaimRow], name: str) -> ClaimRow:
    return next(one for one in rows if one.claim.id == name)


# ---- our number for a cell


def test_a_superglue_score_is_the_mean_over_eight_tasks_of_the_mean_over_metrics(make: Make) -> None:
    records = superglue(make, "base", 60.0)
    for record in records:
        if record.config["task"]["name"] == "cb":
            record.metrics["validation"] = {"accuracy": 80.0, "f1_macro": 70.0}
    cell = registry.cell("lester2021/F1.prompt_tuning.base")
    found = Results(groups(records)).of(cell)
    assert found is not None and found.n == 3 and len(found.parts) == 8
    assert found.value == pytest.approx((7 * 60.2 + 75) / 8)
    by_seed = [(7 * (60 + 0.1 * seed) + 75) / 8 for seed in (1, 2, 3)]
    assert found.std == pytest.approx(np.std(by_seed, ddof=1))
    expected = statistics.aggregated(found.parts)
    assert found.interval == (expected.low, expected.high) and found.interval[0] < found.value < found.interval[1]


def test_a_superglue_score_needs_every_task(make: Make) -> None:
    records = [r for r in superglue(make, "base", 60.0) if r.config["task"]["name"] != "wsc"]
    assert Results(groups(records)).of(registry.cell("lester2021/F1.prompt_tuning.base")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"model.paper_name": None},  # a stand-in
        {"task.limit.train": 100},
        {"method.length": 20},
        {"method.initialisation": "uniform"},
        {"task.sentinel": True},
        {"method.start_from": "prompt.safetensors"},
    ],
)
def test_a_run_that_differs_is_not_the_cells(make: Make, change: dict[str, Any]) -> None:
    cell = registry.cell("lester2021/F1.prompt_tuning.base")
    assert Results(groups(superglue(make, "base", 60.0))).of(cell) is not None
    assert Results(groups(superglue(make, "base", 60.0, **change))).of(cell) is None


def test_a_prompt_that_is_only_scored_is_the_cells(make: Make) -> None:
    scored = {"method.start_from": "released.npy", "trainer.steps": 0}
    records = superglue(make, "base", 60.0, **scored)
    assert Results(groups(records)).of(registry.cell("lester2021/F1.prompt_tuning.base")) is not None


def test_the_average_of_a_mixture_is_a_score_of_its_own(make: Make) -> None:
    change = {**FT, "task.parts": {"cb": {}}, "task.name": "all", "task.paper_name": "superglue"}
    change |= {"model.paper_name": "t5-v1_1-base", "recipe.paper": "lester2021"}
    results = Results(groups([make(seed, 70.0 + seed, metric="average", change=change) for seed in (1, 2)]))
    found = results.of(registry.cell("lester2021/F1.model_tuning_multitask.base"))
    assert found is not None and found.value == 71.5 and found.n == 2
    assert results.of(registry.cell("lester2021/F1.model_tuning.base")) is None


def test_one_run_a_task_has_no_interval(make: Make) -> None:
    found = Results(groups(superglue(make, "base", 60.0, (1,)))).of(registry.cell("lester2021/F1.prompt_tuning.base"))
    assert found is not None and found.interval is None and found.std is None


def test_unprinted_cells_take_our_runs(make: Make) -> None:
    from repro.papers.exhibits import exhibit

    short = superglue(make, "small", 40.0, **{"method.length": 5})
    cell = exhibit("lester2021", "figure3a").cells["5", "Small"]
    found = Results(groups(short)).of(cell)
    assert found is not None and found.value == pytest.approx(40.2)
    assert Results(groups(superglue(make, "small", 40.0))).of(cell) is None


def test_parameters_come_from_the_records(make: Make) -> None:
    record = make(
        1, change={**PT, "model.paper_name": "t5-xl-lm-adapt"}, parameters={"trained": 9, "stored": 9, "frozen": 991}
    )
    results = Results(groups([record]))
    for metric, value in {"trainable_parameters": 9, "total_parameters": 1000, "percent_trainable": 0.9}.items():
        found = results.of(registry.cell(f"lester2021/T4.xl.p100.{metric}"))
        assert found is not None and found.value == value
        assert results.of(registry.cell(f"lester2021/T4.xl.p50.{metric}")) is None


def test_a_vote_knows_the_mean_and_the_best_of_its_members(make: Make) -> None:
    change = {**PT, "method.name": "prompt_ensemble", "model.paper_name": "t5-xxl-lm-adapt", "recipe.name": None}
    selection = {"metric": "accuracy", "mean": {"accuracy": 91.0}, "best": {"accuracy": 93.0}}
    results = Results(groups([make(1, 94.0, change=change, selection=selection)]))
    values = {}
    for name in ("average", "best", "majority"):
        found = results.of(registry.cell(f"lester2021/T3.rte.acc.{name}"))
        assert found is not None
        values[name] = found.value
    assert values == {"average": 91.0, "best": 93.0, "majority": 94.0}


def test_of_two_groups_the_papers_recipe_counts(make: Make) -> None:
    own = [make(seed, 89.0) for seed in (1, 2)]
    other = [make(seed, 70.0, change={"recipe.paper": None, "trainer.epochs": 3}) for seed in (1, 2, 3)]
    found = Results(groups([*other, *own])).of(registry.cell("liu2022/t2.roberta-large.rte.pt-2"))
    assert found is not None and found.value == 89.0


def test_of_a_search_the_best_selected_setting_counts_and_is_said_to_be_one_of_many(make: Make) -> None:
    def tried(rate: float, score: float, selected: float | None) -> Record:
        selection = {"metric": "accuracy", "value": selected}
        return make(1, score, change={"trainer.optimiser.learning_rate": rate}, selection=selection)

    points = [tried(0.005, 86.0, 86.0), tried(0.007, 89.0, 89.5), tried(0.01, 88.0, 88.0), tried(0.02, 95.0, None)]
    found = Results(groups(points)).of(registry.cell("liu2022/t2.roberta-large.rte.pt-2"))
    assert found is not None and (found.value, found.settings) == (89.0, 4)
    rows = claim_rows("liu2022", groups([*points, make(1, 86.6, change={**FT, "recipe.name": None})]))
    assert "the best of up to 4 settings" in row(rows, "C3").why
    # Twice the runs weigh more than a better pick.
    again = [tried(0.005, 86.0, 86.0), make(2, 86.2, change={"trainer.optimiser.learning_rate": 0.005})]
    best = Results(groups([*points[1:], *again])).of(registry.cell("liu2022/t2.roberta-large.rte.pt-2"))
    assert best is not None and best.n == 2


@pytest.mark.parametrize(
    ("metric", "names", "best"),
    [
        ("ter", ["e2e_bleu", "ter"], 0.2),
        ("bleu", ["e2e_bleu", "ter"], 0.7),
        ("loss", ["e2e_bleu"], 0.2),
        ("theirs", ["theirs"], None),
    ],
)
def test_where_less_is_better_the_setting_with_the_least_is_the_best(
    make: Make, metric: str, names: list[str], best: float | None
) -> None:
    metrics = [{"name": name} for name in names]
    found = []
    for rate, value in ((0.01, 0.5), (0.02, 0.2), (0.03, 0.7)):
        change = {"trainer.optimiser.learning_rate": rate, "task.metrics": metrics}
        found += groups([make(1, 90.0, change=change, selection={"metric": metric, "value": value})])
    first = min(found, key=lambda group: rank(group, "liu2022", 1))
    if best is None:  # nobody knows the direction: then the group's key decides, not the value
        assert first == min(found, key=lambda group: group.key)
    else:
        assert first.records[0].selection["value"] == best


# ---- verdicts


def scaled(make: Make, gaps: dict[str, float]) -> list[Record]:
    """Prompt tuning `gap` points below model tuning at each size."""
    found = []
    for step, (size, gap) in enumerate(gaps.items()):
        level = 60.0 + 5 * step
        found += superglue(make, size, level, **FT) + superglue(make, size, level - gap)
    return found


def test_a_claim_holds_and_another_fails_on_ours(make: Make) -> None:
    rows = claim_rows("lester2021", groups(scaled(make, {"base": 10, "large": 7, "xl": 3, "xxl": 0})))
    assert row(rows, "C2").ours == HOLDS and (row(rows, "C2").share or 0) > 0.99
    assert row(rows, "C2b").ours == NOT_RUN and "8 of 10 cells run" in row(rows, "C2b").why
    reverse = claim_rows("lester2021", groups(scaled(make, {"base": 0, "large": 3, "xl": 7, "xxl": 10})))
    assert row(reverse, "C2").ours == FAILS
    # Refuted already, although Small is missing: Base, Large, XL, XXL rise where they must fall.
    assert row(reverse, "C2b").ours == FAILS and row(reverse, "C2b").share is None
    assert "3 runs a cell" in row(rows, "C2").why


def test_crossing_intervals_are_undecided(make: Make) -> None:
    def runs(values: list[float], method: dict[str, Any]) -> list[Record]:
        return [make(seed, value, change=method) for seed, value in enumerate(values)]

    tuned = {**FT, "recipe.name": None}
    near = runs([88.0, 90.0, 92.0], {}) + runs([85.0, 88.0, 91.0], tuned)
    far = runs([88.9, 89.0, 89.1], {}) + runs([80.9, 81.0, 81.1], tuned)
    only = "v['roberta-large', rte, 'pt-2'] > v['roberta-large', rte, ft]"
    from dataclasses import replace

    from repro.report.claims import claims as module

    claim = replace(claims("liu2022")[0], holds=only, shows={"gap": only.replace(" > ", " - ")})
    undecided = module._row(claim, Results(groups(near)))
    assert undecided.ours == UNDECIDED and 0.5 < (undecided.share or 0) < 0.975
    assert module._row(claim, Results(groups(far))).ours == HOLDS
    assert module._row(claim, Results(groups(far))).why.startswith("gap: 8")


def test_one_run_a_cell_decides_by_its_value_and_is_marked(make: Make) -> None:
    rows = claim_rows("liu2022", groups([make(1, 89.5), make(1, 86.0, change={**FT, "recipe.name": None})]))
    assert all(one.ours == NOT_RUN for one in rows)
    marked = row(rows, "C3")
    assert marked.one_run and "one run has no interval" in marked.why
    worse = claim_rows("liu2022", groups([make(1, 80.0), make(1, 86.0, change={**FT, "recipe.name": None})]))
    assert row(worse, "C3").ours == FAILS and row(worse, "C3").one_run


def test_nothing_of_ours_leaves_every_claim_not_run_and_the_papers_verdicts(make: Make) -> None:
    for paper in registry.PAPERS:
        rows = claim_rows(paper, [])
        assert {one.ours for one in rows} == {NOT_RUN}
        assert [one.claim for one in rows] == list(claims(paper))
        assert any(one.on_paper == FAILS for one in rows) or paper == "liu2021_v1"


def test_editions_that_agree_are_told_once() -> None:
    rows = claim_rows("liliang2021", [])
    assert row(rows, "C1").on_paper == HOLDS
    assert row(rows, "C3b").on_paper == "fails (acl), holds (v1)"


def test_equal_records_give_equal_rows(make: Make) -> None:
    records = scaled(make, {"base": 10, "large": 7})
    first = [as_data(one) for one in claim_rows("lester2021", groups(records))]
    again = [as_data(one) for one in claim_rows("lester2021", groups(records[::-1]))]
    assert json.dumps(first) == json.dumps(again)


# ---- the command


@pytest.fixture
def stored(make: Make, tmp_path: Path) -> Callable[[list[Record]], Path]:
    def put(records: list[Record]) -> Path:
        store = Store(tmp_path / "results" / "records")
        for record in records:
            store.put(record)
        return tmp_path / "results"

    return put


def test_check_exits_with_1_on_a_claim_that_fails_on_ours(
    make: Make, stored: Callable[[list[Record]], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = stored([make(1, 80.0), make(1, 86.0, change={**FT, "recipe.name": None})])
    assert main(["check", "liu2022", "--results", str(root)]) == 1
    out = capsys.readouterr().out
    assert "fails (one run)" in out and "On ours: 0 holds, " in out
    # The papers' own failures do not set the exit code.
    assert main(["check", "lester2021", "--results", str(root)]) == 0
    assert "4 fails" in capsys.readouterr().out


def test_check_as_json_says_which_runs_decide(
    make: Make, stored: Callable[[list[Record]], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = stored([make(1, 89.5)])
    assert main(["check", "liu2022", "--results", str(root), "--format", "json"]) == 0
    rows = {one["id"]: one for one in json.loads(capsys.readouterr().out)}
    assert rows["C1"]["on_paper"]["only"]["verdict"] == "fails"
    assert rows["C1"]["on_ours"]["verdict"] == "not run"
    cells = {one["id"]: one for one in rows["C3"]["cells"]}
    ours = cells["liu2022/t2.roberta-large.rte.pt-2"]
    assert ours["ours"] == 89.5 and ours["paper"] == 89.5 and ours["n"] == 1 and len(ours["runs"]) == 1
    assert cells["liu2022/t2.roberta-large.rte.ft"]["ours"] is None


def test_bad_requests_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "lester2020"]) == 2
    assert "the papers are lester2021" in capsys.readouterr().err
    assert main(["check", "lester2021", "--results", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
