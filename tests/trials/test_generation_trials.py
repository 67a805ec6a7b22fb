"""Trials of the generation tasks: WebNLG's halves from one decoding, DART, XSum with BART, a low-data set of E2E."""

from pathlib import Path

import numpy as np
import pytest

from repro.evaluation.rescoring import rescore
from repro.metrics import java, meteor_process
from repro.metrics.registry import build_metric
from repro.metrics.ter import Ter
from repro.report.compare.compare import compare
from repro.report.compare.groups import groups
from repro.store.record import Record
from repro.store.store import Store
from tests.nested import build_task, run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_record_holds_the_halves_and_who_is_in_them(quick):
    plain = quick("method=prefix_tuning", "model=tiny-gpt2", "task=webnlg", "method.length=3")
    record = run(plain).record
    assert record is not None
    assert set(record.metrics) == {"validation", "test", "test_seen", "test_unseen"}
    assert set(record.statistics) == {"validation", "test"}, "no half is scored again"
    assert record.subsets == {"test": {"test_seen": [0, 2], "test_unseen": [1, 3]}}
    for name, members in record.subsets["test"].items():
        values: dict[str, float] = {}
        for metric in map(build_metric, plain["task"]["metrics"]):
            rows = record.statistics["test"].get(metric.name)
            if rows is not None:  # one that this machine cannot compute
                values |= metric.reduce(np.asarray(rows)[members])
        assert record.metrics[name] == values and "bleu" in values
    assert Record.from_json(record.to_json()) == record


def test_what_is_scored_later_is_scored_for_the_halves_too(quick, monkeypatch):
    monkeypatch.setattr(java, "java", lambda: None)
    meteor_process.shared.cache_clear()  # another test may have one running
    meteor = "task.also_metrics=[{name: meteor, text: webnlg, references: 3}]"
    plain = quick("method=prefix_tuning", "model=tiny-gpt2", "task=webnlg", "method.length=3", meteor)
    record = run(plain).record
    assert record is not None
    assert {split for split, row in record.missing.items() if "meteor" in row} == set(record.metrics)
    results, runs = Path(plain["paths"]["results_root"]), Path(plain["paths"]["runs_root"])
    rescore(record.key, results, runs)  # the task's file names TER, which needs no Java
    later = Store(results / "records").get(record.key)
    assert later is not None and later.missing == record.missing
    rows = np.asarray(later.statistics["test"]["ter"])
    for name, members in {"test": [0, 1, 2, 3], "test_seen": [0, 2], "test_unseen": [1, 3]}.items():
        assert later.metrics[name]["ter"] == Ter().reduce(rows[members])["ter"]
    assert later.metrics["test_seen"]["bleu"] == record.metrics["test_seen"]["bleu"]


def test_a_low_data_trial_says_so_and_is_compared_with_no_whole_set(quick):
    low = ("task.low_data.size=4", "task.low_data.subset=3")
    plain = quick("method=prefix_tuning", "model=tiny-gpt2", "task=e2e", "method.length=3", *low)
    record = run(plain).record
    assert record is not None
    assert record.config["task"]["low_data"] == {"size": 4, "subset": 3, "dev_fraction": 0.3}
    assert any("train: 4 of 8 examples (task.low_data, our draw 3" in text for text in record.deviations)
    assert any("validation: 1 of 3 examples (task.low_data" in text for text in record.deviations)
    record.config["model"]["paper_name"] = "gpt2-medium"
    (group,) = groups([record])
    assert group.names.task == "e2e"
    from repro.papers import registry

    found = compare(group, registry.cells(), "test", "bleu")
    assert found.verdict == "not comparable"
    assert "the cell's training set is whole, ours is cut (task.low_data.size=4)" in found.reason


@pytest.mark.parametrize(
    ("task", "model", "train"),
    [("dart", "tiny-gpt2", 15), ("xsum", "tiny-bart", 8), ("xsum_news_to_sports", "tiny-bart", 6)],
)
def test_the_other_generation_tasks_train_and_decode(quick, task, model, train):
    """As in their files but for lengths: six beams for XSum, five for DART."""
    beams = ("task.decoding.beams=6", "task.decoding.min_new_tokens=3")
    plain = quick("method=prefix_tuning", f"model={model}", f"task={task}", "method.length=3", *beams)
    record = run(plain).record
    assert record is not None and record.status in ("done", "collapsed")
    assert set(record.metrics) == {"validation", "test"}
    loaded = build_task(plain)
    assert len(loaded.examples("train")) == train
    assert record.provenance["data"]["train"] == loaded.fingerprint()["train"]
    assert set(loaded.deviations) <= set(record.deviations)
