"""From a trial to the report: metrics beside the task's own, values that a machine cannot compute, lower is better."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.run_key import run_key
from repro.errors import ConfigError
from repro.evaluation.rescoring import rescore
from repro.metrics import java, meteor_process
from repro.metrics.ter import Ter
from repro.papers import registry
from repro.report.compare.compare import compare
from repro.report.compare.groups import groups
from repro.report.pages.contents import contents
from repro.report.pages.trial_summary import trial_summary
from repro.report.pages.write import report_files
from repro.store.record import Record
from repro.store.store import Store
from tests.nested import build_task, resolved, run

pytestmark = pytest.mark.usefixtures("one_thread")

BESIDE = "task.also_metrics=[{name: nist}, {name: ter}, {name: meteor, text: as_is}]"
E2E = ("method=prefix_tuning", "model=tiny-gpt2", "task=e2e", "method.length=3", "trainer.evaluate_every=1")


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "java", lambda: None)
    meteor_process.shared.cache_clear()


def ran(quick: Callable[..., dict[str, Any]], *overrides: str) -> tuple[Record, dict[str, Any]]:
    plain = quick(*E2E, *overrides)
    record = run(plain).record
    assert record is not None
    return record, plain


@pytest.fixture
def trial(quick: Callable[..., dict[str, Any]], no_java: None) -> tuple[Record, dict[str, Any]]:
    """E2E with NIST, TER and METEOR beside BLEU, on a machine without Java; conf/task names nothing more for it."""
    return ran(quick, BESIDE, "task.name=made_up")


@pytest.mark.smoke
def test_a_missing_value_is_absent_and_said_everywhere(trial, capsys) -> None:
    record, _ = trial
    assert {"bleu", "nist", "ter"} == set(record.metrics["test"])
    assert "no `java`" in record.missing["test"]["meteor"]
    assert any(text.startswith("test: meteor is missing: there is no `java`") for text in record.deviations)
    assert "meteor" not in record.statistics["test"]
    # In evaluations during training only what is not costly is computed.
    assert all(set(row["validation"]) == {"bleu", "nist"} for row in record.curve)
    assert "test meteor is missing: there is no `java`" in trial_summary(record, False)
    [group] = groups([record])
    found = compare(group, registry.cells(), "test", "meteor")
    assert found.verdict == "not run"
    assert "could not be computed: there is no `java`" in found.reason
    row = next(row for row in contents([record], registry.cells()).rows if row.metric == "meteor")
    assert (row.ours, row.n) == (None, 0)
    assert "no `java`" in report_files([record], registry.cells())["REPORT.md"]


@pytest.mark.smoke
def test_stored_predictions_give_the_missing_value_later(trial, monkeypatch: pytest.MonkeyPatch, cli) -> None:
    record, plain = trial
    results, runs = Path(plain["paths"]["results_root"]), Path(plain["paths"]["runs_root"])
    lines = rescore(record.key, results, runs)
    assert [line for line in lines if "meteor is missing" in line]
    again = Store(results / "records").get(record.key)
    assert again is not None and sorted(again.deviations) == sorted(record.deviations)
    assert (again.metrics, again.missing, again.statistics) == (record.metrics, record.missing, record.statistics)

    class Answers:
        def statistics(self, output: str, references: list[str]) -> list[float]:
            return [4, 4, 0, 0, 4, 4, 0, 0, *[0] * 12, 2, 4, 4]

    monkeypatch.setattr(meteor_process, "shared", Answers)
    done = cli("metrics", "--score", record.key, "--results", str(results), "--runs", str(runs))
    assert done.code == 0 and "test meteor" in done.out
    later = Store(results / "records").get(record.key)
    assert later is not None
    assert later.metrics["test"]["meteor"] == pytest.approx(100 * (1 - 0.6 * 0.5**0.2))
    assert later.metrics["test"] | {"meteor": 0} == record.metrics["test"] | {"meteor": 0}
    assert later.missing == {} and not any("missing" in text for text in later.deviations)
    assert len(later.statistics["test"]["meteor"]) == len(record.statistics["test"]["bleu"])


@pytest.mark.smoke
def test_a_further_metric_for_a_stored_trial(trial, cli) -> None:
    record, plain = trial
    folders = ["--results", plain["paths"]["results_root"], "--runs", plain["paths"]["runs_root"]]

    def scored(metric: str) -> Any:
        return cli("metrics", "--score", record.key, "--metric", metric, *folders)

    for wrong, said in (
        ("no_such", "--metric no_such: metric=no_such: must be one of"),
        ("[1]", "give its name"),
        ("multirc", "one by one"),
        ("{name: f1_macro, classes: 2}", "f1_macro cannot score what"),
    ):
        done = scored(wrong)
        assert done.code == 2 and said in done.err, done.err
    done = scored("{name: rouge, batch_size: 2}")
    assert done.code == 0 and "test rouge1 " in done.out, done.err
    later = Store(Path(plain["paths"]["results_root"]) / "records").get(record.key)
    assert later is not None and 0 <= later.metrics["test"]["rouge1"] <= 100
    assert len(later.statistics["test"]["rouge"]) == len(record.statistics["test"]["bleu"])


@pytest.mark.smoke
def test_scoring_again_without_predictions_or_record_is_refused(trial, cli) -> None:
    record, plain = trial
    folders = ["--results", plain["paths"]["results_root"], "--runs", plain["paths"]["runs_root"]]
    assert "no such record" in cli("metrics", "--score", "0" * 16, *folders).err
    path = Path(plain["paths"]["runs_root"]) / record.key / "predictions-test.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    copied = [line | {"prediction": line["references"][0]} for line in lines]
    for rows in (copied, lines[:-1], [], [{}]):
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        done = cli("metrics", "--score", record.key, *folders)
        assert done.code == 2 and "its checksum is not the one in the record" in done.err and not done.out
    path.unlink()
    done = cli("metrics", "--score", record.key, *folders)
    assert done.code == 2 and "is not here: only the machine that ran the trial has it" in done.err


def test_metrics_beside_the_tasks_own_are_no_part_of_the_key(quick: Callable[..., dict[str, Any]]) -> None:
    plain = quick(*E2E)
    assert run_key(quick(*E2E, BESIDE)) == run_key(plain)
    without = json.loads(json.dumps(plain))
    del without["task"]["also_metrics"]
    assert run_key(without) == run_key(plain)
    replaced = quick(*E2E, "task.metrics=[{name: nist}]")
    assert run_key(replaced) != run_key(plain)


@pytest.mark.smoke
def test_a_checkpoint_is_not_selected_by_a_value_that_cannot_be_computed(quick, no_java: None, tmp_path) -> None:
    plain = quick(*E2E, BESIDE, "trainer.selection.metric=meteor")
    with pytest.raises(ConfigError, match=r"selection\.metric=meteor cannot be computed.*no `java`.*bleu, nist, ter"):
        run(plain)
    assert not list(Path(plain["paths"]["results_root"]).rglob("record.json"))


@pytest.mark.smoke
def test_the_lowest_ter_is_the_best(quick: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter([50.0, 30.0, 40.0, 60.0, 30.0, 30.0])  # four evaluations, then the report's two splits
    monkeypatch.setattr(Ter, "reduce", lambda self, statistics: {"ter": next(given)})
    record, _ = ran(quick, BESIDE, "trainer.selection.metric=ter", "trainer.steps=4")
    assert [row["validation"]["ter"] for row in record.curve] == [50.0, 30.0, 40.0, 60.0]
    assert (record.selection["value"], record.selection["step"]) == (30.0, 2)


@pytest.mark.smoke
def test_an_evaluate_metric_that_cannot_be_loaded_costs_no_training(quick: Callable[..., dict[str, Any]]) -> None:
    wanted = "task.also_metrics=[{name: from_evaluate, path: nobody_has_it, key: score}]"
    plain = quick(*E2E, wanted)
    with pytest.raises(ConfigError, match="nobody_has_it cannot be loaded"):
        run(plain)
    assert not list(Path(plain["paths"]["runs_root"]).rglob("*.json"))


def test_a_mixture_without_one_parts_value_has_no_average() -> None:
    from repro.evaluation.scoring import score
    from repro.metrics.accuracy import Accuracy
    from repro.metrics.meteor import Meteor
    from repro.tasks.base import Example, Task

    class Part(Task):
        def __init__(self, *metrics: Any) -> None:
            self.metrics = metrics

    mixed = Part()
    mixed.parts = {"one": Part(Accuracy()), "two": Part(Meteor())}

    examples = [Example("a", {}, (1,), meta={"part": "one"}), Example("b", {}, ("x",), meta={"part": "two"})]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(java, "java", lambda: None)
        meteor_process.shared.cache_clear()
        found = score(mixed, examples, [1, "y"])
    assert found.values == {"one.accuracy": 100.0}
    assert set(found.missing) == {"two.meteor", "average"}
    assert "no `java`" in found.missing["average"]


def test_two_metrics_of_one_name_are_refused(quick: Callable[..., dict[str, Any]]) -> None:
    from repro.trials.checks import check_metrics

    check_metrics(build_task(quick(*E2E)))
    twice = build_task(quick(*E2E, "task.also_metrics=[{name: multi_bleu}]"))
    with pytest.raises(ConfigError, match="of e2e give bleu twice"):
        check_metrics(twice)


def test_metrics_beside_a_tasks_own_have_no_part_in_its_score(quick: Callable[..., dict[str, Any]]) -> None:
    from repro.metrics.base import averaged_values

    base = ("method=fine_tuning", "model=tiny-bert", "task=cb")
    own = averaged_values(build_task(quick(*base)).metrics)
    assert len(own) == 2
    for beside in ("f1_macro", "nist"):
        task = build_task(quick(*base, f"task.also_metrics=[{{name: {beside}}}]"))
        assert len((*task.metrics, *task.also_metrics)) == 3 and averaged_values(task.metrics) == own


def test_resolved_configs_keep_the_metrics_beside(composed: Callable[..., Any]) -> None:
    beside = resolved(composed(*E2E[:3]))["task"]["also_metrics"]
    assert [metric["name"] for metric in beside] == ["nist", "meteor", "rouge_l_coco", "cider"]
