"""When two numbers may be compared, when not, and what the comparison then says."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from repro.papers import registry
from repro.papers.registry import Reported
from repro.papers.statistics import Summary
from repro.report.compare.compare import (
    COMPARABLE_KINDS,
    COUNTERPARTS,
    DESCRIPTIVE,
    Comparison,
    compare,
)
from repro.report.compare.groups import groups
from repro.report.compare.tolerance import Tolerance, tolerance
from repro.store.record import Record

Make = Callable[..., Record]

T5 = {
    "method.name": "prompt_tuning",
    "method.length": 100,
    "method.reparameterisation": None,
    "method.initialisation": "class_label",
    "model.name": "t5-xxl-lm-adapt",
    "model.paper_name": "t5-xxl-lm-adapt",
    "task.name": "boolq",
    "task.paper_name": "boolq",
    "recipe.paper": "lester2021",
    "experiment_name": "lester2021/table3",
}
E2E = {
    "method.name": "prefix_tuning",
    "method.length": 5,
    "method.reparameterisation": "mlp",
    "model.name": "gpt2-medium",
    "model.paper_name": "gpt2-medium",
    "task.name": "e2e",
    "task.paper_name": "e2e",
    "task.report_split": "test",
    "recipe.paper": "liliang2021",
    "experiment_name": "liliang2021/table2",
}
E2E_COUNTS = {"trained": 25744896, "stored": 245760, "frozen": 354823168}


def cell(**changes: Any) -> Reported:
    """A made-up cell that agrees with the record that `make` builds."""
    fields = {"paper": "liu2022", "id": "liu2022/x", "at": "Table 2", "kind": "result", "metric": "accuracy"}
    fields |= {"value": 89.5, "model": "roberta-large", "method": "p_tuning_v2", "task": "rte", "split": "dev"}
    return Reported(**{**fields, **changes})


def verdict(records: Record | list[Record], cells: Any = None, **score: str) -> Comparison:
    (group,) = groups([records] if isinstance(records, Record) else records)
    return compare(group, registry.cells() if cells is None else cells, **score)


# ---- groups


def test_records_that_differ_only_in_the_seed_form_a_group(make: Make) -> None:
    records = [make(seed) for seed in (3, 1, 2)] + [make(1, change={"method.length": 20})]
    found = groups(records)
    assert [[record.seed for record in group.records] for group in found if len(group.records) > 1] == [[1, 2, 3]]
    assert sorted(len(group.records) for group in found) == [1, 3]


@pytest.mark.parametrize(
    "path", ["method.length", "model.name", "task.name", "trainer.epochs", "trainer.optimiser.learning_rate"]
)
def test_any_other_difference_makes_another_group(make: Make, path: str) -> None:
    assert len(groups([make(1), make(2, change={path: 7})])) == 2


def test_a_record_that_claims_a_papers_name_does_not_join_the_others(make: Make) -> None:
    assert len(groups([make(1), make(2, change={"model.paper_name": None})])) == 2


def test_where_files_lie_and_the_name_of_the_sweep_do_not_matter(make: Make) -> None:
    changed = {"paths.data_root": "elsewhere", "experiment_name": "liu2022/figure4", "task.limit.seed": 5}
    assert len(groups([make(1), make(2, change=changed)])) == 1


def test_groups_do_not_depend_on_the_order_of_the_records_and_drop_doubles(make: Make) -> None:
    records = [make(seed, change={"method.length": length}) for seed in (1, 2, 3) for length in (8, 16)]
    expected = [[record.key for record in group.records] for group in groups(records)]
    shuffled = records + records[:2]
    random.Random(0).shuffle(shuffled)
    assert [[record.key for record in group.records] for group in groups(shuffled)] == expected


# ---- verdicts


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([91.0, 91.1, 91.2], "reproduced"),
        ([88.0, 91.0, 94.0], "close"),
        ([97.0, 97.1, 97.2], "above"),
        ([80.0, 80.1, 80.2], "below"),
    ],
)
def test_an_exact_match_gets_a_verdict(make: Make, scores: list[float], expected: str) -> None:
    found = verdict([make(seed, score, change=T5) for seed, score in enumerate(scores)])
    assert found.reported is not None
    assert found.reported.id == "lester2021/T3.boolq.acc.average"
    assert found.verdict == expected
    assert found.difference == pytest.approx(sum(scores) / 3 - 91.1)
    assert found.summary is not None and found.summary.n == 3
    assert found.nearest == ()


def test_one_run_is_judged_by_its_value_and_says_so(make: Make) -> None:
    found = verdict(make(1, 89.9))
    assert (found.verdict, found.summary.n, found.summary.low) == ("reproduced", 1, None)
    assert found.reported.id == "liu2022/t2.roberta-large.rte.pt-2"
    assert "One run" in found.reason


# ---- one mismatch a dimension


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "deberta-xlarge"}, "model"),
        ({"method": "prompt_tuning"}, "method"),
        ({"task": "boolq"}, "task"),
        ({"split": "test"}, "split"),
        ({"split": "unstated"}, "split"),
        ({"split": None}, "split"),
        ({"metric": "f1"}, "metric"),
        ({"vars": {"prompt_length": 20}}, "prompt_length"),
        ({"vars": {"reparameterization": "MLP"}}, "reparameterization"),
        ({"vars": {"init": "class_label"}}, "init"),
        ({"vars": {"prompt_layers": "17-24", "n_prompt_layers": 8}}, "prompt_layers"),
        ({"vars": {"backbone_frozen": False}}, "backbone_frozen"),
        ({"vars": {"aggregate": "best_of_5"}}, "aggregate"),
        ({"vars": {"train_task": "qqp"}}, "train_task"),
        ({"vars": {"head": "Verbalizer & LM head"}}, "head"),
        ({"vars": {"train_steps": 30000}}, "train_steps"),
        ({"vars": {"total_epochs": 10}}, "total_epochs"),
        ({"vars": {"stored_percent": 0.1}}, "stored_percent"),
        ({"vars": {"prompt_encoder": "LSTM"}}, "prompt_encoder"),
        ({"caveat": "ERRATUM in the paper itself", "usable": False}, "ERRATUM"),
    ],
)
def test_one_difference_is_enough_and_is_named(make: Make, change: dict[str, Any], named: str) -> None:
    assert verdict(make(), [cell()]).verdict == "reproduced"
    found = verdict(make(), [cell(**change)])
    assert found.verdict == "not comparable"
    assert (found.reported, found.difference, found.tolerance) == (None, None, None)
    assert named in found.reason
    assert found.reason.endswith(".")


@pytest.mark.parametrize(
    "agreeing",
    [
        {"prompt_length": 128, "reparameterization": "embedding"},
        {"prompt_layers": "1-24", "n_prompt_layers": 24, "order": "descending"},
        {"backbone_frozen": True, "head": "CLS & linear head", "total_epochs": 100},
        {"stored_percent": 2, "train_task": "rte", "aggregate": "mean_of_5"},
        dict.fromkeys(DESCRIPTIVE, "anything"),
    ],
)
def test_variables_that_agree_are_no_obstacle(make: Make, agreeing: dict[str, Any]) -> None:
    assert verdict(make(), [cell(vars=agreeing)]).verdict == "reproduced"


@pytest.mark.parametrize("kind", sorted(set(registry.KINDS) - set(COMPARABLE_KINDS)))
def test_counts_and_statements_are_never_compared(make: Make, kind: str) -> None:
    assert verdict(make(), [cell(kind=kind)]).verdict == "not comparable"


def test_every_variable_of_the_papers_is_decided() -> None:
    """A variable in neither table makes its cell not comparable: here are the only ones for which that is meant."""
    names = {name for c in registry.cells(kind=COMPARABLE_KINDS) for name in c.vars}
    derived = {"backbone_frozen", "aggregate", "train_task", "stored_percent", "prompt_layers"}
    without = {"n_prompt_tokens", "pattern", "position", "prompt_encoder", "segments_a_sentence"}
    assert names - set(COUNTERPARTS) - set(DESCRIPTIVE) - derived == without


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_run_on_a_part_of_the_data_is_not_comparable(make: Make, part: str) -> None:
    found = verdict(make(change={f"task.limit.{part}": 50}))
    assert found.verdict == "not comparable"
    assert f"{part} 50" in found.reason
    assert "roberta-large" in [near.model for near in found.nearest]


def test_a_run_on_files_of_another_size_is_not_comparable(make: Make) -> None:
    """`task.check_rows=false` lets them in; with it on, another size is an edition that the task knows and says."""
    stated = {"task.rows": {"train": 2490, "validation": 277}}
    data = {"train": {"rows": 32, "sha256": "0"}, "validation": {"rows": 277, "sha256": "1"}}
    found = verdict(make(change=stated | {"task.check_rows": False}, provenance={"data": data}))
    assert found.verdict == "not comparable"
    assert "train: 32 rows, the original has 2490" in found.reason and "validation" not in found.reason
    assert verdict(make(change=stated | {"task.check_rows": False})).verdict != "not comparable"
    assert verdict(make(change=stated, provenance={"data": data})).verdict != "not comparable"


def test_a_mixtures_parts_have_their_own_sizes(make: Make) -> None:
    change = {"task.parts": {"rte": {"rows": {"train": 2490}}}, "task.check_rows": False}
    data = {"rte/train": {"rows": 8, "sha256": "0"}}
    assert "rte/train: 8 rows, the original has 2490" in verdict(make(change=change, provenance={"data": data})).reason


@pytest.mark.parametrize(
    ("setting", "variable", "value"), [("low_data.size", "train_size", 100), ("fraction", "train_fraction", 0.1)]
)
def test_a_cut_training_set_is_compared_only_with_cells_that_say_so(
    make: Make, setting: str, variable: str, value: float
) -> None:
    """Without the variable a cell is of the whole set; with it, a run on the whole set is none of its."""
    cut, whole = make(change={f"task.{setting}": value}), make()
    silent, same, other = cell(), cell(vars={variable: value}), cell(vars={variable: 2 * value})
    found = verdict(cut, [silent])
    assert found.verdict == "not comparable"
    assert f"the cell's training set is whole, ours is cut (task.{setting}={value})" in found.reason
    assert verdict(cut, [same]).verdict == "reproduced"
    assert verdict(cut, [other]).verdict == verdict(whole, [same]).verdict == "not comparable"
    assert verdict(cut, [silent, same]).reported == same
    assert verdict(cut).verdict == "not comparable", "no cell of the papers is on so few examples"


def test_draws_of_a_low_data_set_are_one_group_as_seeds_are(make: Make) -> None:
    def low(seed: int, size: int, subset: int) -> Record:
        return make(seed, change={"task.low_data": {"size": size, "subset": subset, "dev_fraction": 0.3}})

    records = [low(seed, size, subset) for size in (50, 100) for subset in range(5) for seed in (200, 9)]
    assert sorted(len(group.records) for group in groups([*records, make(9)])) == [1, 10, 10]


def test_the_halves_of_webnlg_are_compared_with_their_own_cells(make: Make) -> None:
    change = E2E | {"task.name": "webnlg", "task.paper_name": "webnlg"}
    halves = {"test": {"bleu": 55.0}, "test_seen": {"bleu": 62.9}, "test_unseen": {"bleu": 45.3}}
    record = make(change=change, metrics=halves, parameters=E2E_COUNTS)
    for split, printed in (("test", "test-all"), ("test_seen", "test-seen"), ("test_unseen", "test-unseen")):
        found = verdict(record, split=split, metric="bleu")
        assert found.reported is not None and found.reported.split == printed
        assert found.verdict == "reproduced" and found.reported.edition in ("acl", "both")


def test_deviations_do_not_forbid_a_comparison(make: Make) -> None:
    assert verdict(make(deviations=["The batch is 16, not 32."])).verdict == "reproduced"


# ---- stand-ins and context


def test_a_stand_in_never_lands_in_a_papers_row(make: Make) -> None:
    small = {"model.name": "minilm", "model.paper_name": None}
    for one in registry.cells(kind=COMPARABLE_KINDS):
        found = verdict(make(change=small | {"task.paper_name": one.task, "method.name": one.method}), [one])
        assert (found.verdict, found.reported, found.difference) == ("not comparable", None, None), one.id


def test_the_reason_and_the_context_for_a_stand_in(make: Make) -> None:
    found = verdict(make(change={"model.name": "minilm", "model.paper_name": None}))
    assert found.reason == (
        "The paper (liu2022) never ran the model minilm "
        "(rows there: bert-large, roberta-large, glm-xlarge, glm-xxlarge)."
    )
    near = {c.model: c.number for c in found.nearest}
    assert near == {"bert-large": 78.3, "roberta-large": 89.5, "glm-xlarge": 90.3, "glm-xxlarge": 93.1}
    assert {c.at for c in found.nearest} == {"Table 2"}


def test_the_reason_names_what_the_papers_do_have(make: Make) -> None:
    no_task = verdict(make(change={"task.name": "wnut17", "task.paper_name": None}))
    assert no_task.reason == "No paper reports the task wnut17."
    no_method = verdict(make(change={"method.name": "prefix_tuning"}))
    assert "method prefix_tuning" in no_method.reason and "p_tuning_v2" in no_method.reason
    no_model = verdict(make(change={"model.paper_name": "bert-base"}))
    assert "printed no such number for the model" in no_model.reason
    no_metric = verdict(make(metric="span_f1"))
    assert "metric span_f1" in no_metric.reason and "accuracy" in no_metric.reason


def test_a_metric_of_another_name_is_the_same_metric(make: Make) -> None:
    squad = {"task.name": "squad_v1", "task.paper_name": "squad_v1", "recipe.paper": "liu2022"}
    record = make(1, 88.5, metric="exact_match", change=squad)
    assert verdict(record).reported.id == "liu2022/t3.roberta-large.squad-11.pt-2.em"


# ---- which cell, which edition, which unit


def test_the_proceedings_come_first_and_the_other_edition_is_named(make: Make) -> None:
    record = make(1, 70.0, split="test", metric="bleu", change=E2E, parameters=E2E_COUNTS)
    found = verdict(record)
    assert (found.reported.edition, found.reported.number) == ("acl", 70.3)
    assert "69.7" in found.reason and "v1" in found.reason
    assert "prompt_length (ours: 5)" in found.reason


def test_the_exhibit_of_the_experiment_decides_between_cells_that_agree(make: Make) -> None:
    change = {"task.name": "boolq", "task.paper_name": "boolq", "method.length": 8}
    headline = verdict(make(1, 84.8, change=change))
    assert headline.reported.at == "Table 2"
    ablation = verdict(make(1, 84.8, change=change | {"experiment_name": "liu2022/figure_4"}))
    assert ablation.reported.at == "Figure 4"
    assert ablation.reported.vars["prompt_length"] == 8
    # Outside any exhibit: the cell that states most about our run.
    assert verdict(make(1, 84.8, change=change | {"experiment_name": None})).reported.at == "Figure 4"


def test_a_run_of_a_recipe_is_compared_with_the_exhibit_that_the_recipe_names(make: Make) -> None:
    """RoBERTa on RTE: 89.5 in Table 2, and 88.4 in Table 4, which compares heads and so agrees in one variable more."""
    values = {}
    for exhibit in ("table2", "table4"):
        reported = verdict(make(score=89.0, change={"experiment_name": None, "recipe.exhibit": exhibit})).reported
        assert reported is not None
        values[exhibit] = reported.value
    assert values == {"table2": 89.5, "table4": 88.4}


def test_a_number_that_is_not_the_papers_own_result_is_named_as_such(make: Make) -> None:
    found = verdict(make(), [cell(kind="author_rerun", caveat="another GPU")])
    assert found.verdict == "reproduced"
    assert "README" in found.reason and "another GPU" in found.reason
    own, rerun = cell(id="liu2022/own", value=90.0), cell(kind="author_rerun")
    assert verdict(make(), [rerun, own]).reported == own


def test_fractions_are_compared_in_percent(make: Make) -> None:
    change = E2E | {"task.name": "webnlg", "task.paper_name": "webnlg"}
    record = make(1, 41.2, split="test", metric="meteor", change=change, parameters=E2E_COUNTS)
    found = verdict(record)
    assert found.reported.number > 30 and abs(found.difference) < 3
    assert found.tolerance == 0.5


def test_stored_percent_tells_the_two_rows_of_xsum_apart(make: Make) -> None:
    change = E2E | {"task.name": "xsum", "task.paper_name": "xsum", "model.paper_name": "bart-large"}
    scores = {"split": "test", "metric": "rouge1", "change": change}
    two = make(1, 43.8, parameters={"stored": 100 * 73728, "frozen": 406291456}, **scores)
    tenth = make(1, 43.8, parameters={"stored": 6 * 73728, "frozen": 406291456}, **scores)
    assert verdict(two).reported.number == 43.8
    assert verdict(tenth).reported.number == 42.92
    assert "stored_percent" in verdict(make(1, 43.8, parameters={}, **scores)).reason


def test_transfer_tasks_know_what_they_were_trained_on(make: Make) -> None:
    change = T5 | {"task.name": "qqp_to_mrpc", "task.paper_name": "qqp_to_mrpc"}
    there = {"split": "test"}  # the other domain's set; `validation` is that of what was trained on
    assert verdict(make(1, 76.3, change=change, **there)).reported.id == "lester2021/T2.qqp_to_mrpc.prompt_tuning.acc"
    assert "GLUE mrpc validation" in verdict(make(1, 76.3, change=change)).reason
    book = T5 | {"task.name": "textbookqa", "task.paper_name": "textbookqa"}
    assert "train_task" in verdict(make(1, 66.8, metric="f1", change=book, **there)).reason
    trained = book | {"task.options.train_task": "squad_v1"}
    assert verdict(make(1, 66.8, metric="f1", change=trained, **there)).verdict == "reproduced"


# ---- tolerance


def test_the_tolerance_is_the_largest_of_rounding_floor_and_twice_the_pooled_spread() -> None:
    ours = Summary(n=3, mean=50.0, std=4.0, low=40.0, high=60.0)
    plain = cell(task="conll04", metric="span_f1")
    assert tolerance(plain, ours) == Tolerance(1.0, "the floor for the task")
    assert tolerance(cell(), ours).width == 3.0
    assert tolerance(cell(task="e2e", metric="nist"), ours).width == 0.1
    wide = tolerance(cell(std=3.0, n_runs=5), ours)
    assert wide.width == pytest.approx(2 * math.sqrt((2 * 16 + 4 * 9) / 6))
    assert "spread" in wide.origin
    one = Summary(n=1, mean=50.0, std=None, low=None, high=None)
    assert tolerance(cell(std=3.0, n_runs=5), one).width == 6.0
    rough = cell(task="conll04", metric="span_f1", precision="figure", plus_minus=2.5)
    assert tolerance(rough, ours) == Tolerance(2.5, "the rounding of the paper's value")


# ---- collapsed and failed runs


def test_values_that_are_no_numbers_are_left_out_and_said(make: Make) -> None:
    for bad in (float("nan"), None):
        odd = make(2, metrics={"validation": {"accuracy": bad}})
        found = verdict([make(1), odd])
        assert found.summary.n == 1
        assert "1 of 2 runs have no finite value" in found.reason
    assert verdict(odd).verdict == "not run"


def test_the_reported_split_and_the_metric_of_selection_come_first(make: Make) -> None:
    metrics = {
        "test": {"bleu": 1.0},
        "validation": {"bleu": 2.0, "accuracy": 3.0, "loss": 4.0},
        "train": {"accuracy": 5.0},
    }
    (group,) = groups([make(metrics=metrics)])
    assert group.measures == [("validation", "accuracy"), ("validation", "bleu"), ("test", "bleu")]


def test_importing_is_cheap() -> None:
    code = (
        "import sys, repro.report.compare.compare, repro.report.pages.write, repro.papers.registry;"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'numpy', 'scipy', 'rich', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
