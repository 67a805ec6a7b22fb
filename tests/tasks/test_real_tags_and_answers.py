"""Real tagging, role and question data: row counts, and what predictors score that say the same to everything."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repro.config.task_files import typed_task
from repro.metrics.registry import build_metric
from repro.metrics.strict_span_f1 import strict_spans
from repro.tasks.registry import task_in_format

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("REPRO_DATA_ROOT") or ROOT.parent / "shared" / "data")


def config(name):
    return typed_task(name, str(DATA))


def in_head_format(plain):
    """The task in the format that a head on an encoder reads."""
    return task_in_format(plain, next(format for format in plain.formats if format != "text_to_text"))


def task_of(name):
    plain = config(name)
    if not Path(plain.data_dir).is_dir() or not any(Path(plain.data_dir).iterdir()):
        pytest.skip(f"no real data: {plain.data_dir} does not exist (set REPRO_DATA_ROOT)")
    return in_head_format(plain)


def scored(task, examples, predictions):
    values = {}
    for metric in task.metrics:
        rows = [metric.score(said, example.references) for said, example in zip(predictions, examples, strict=True)]
        values |= metric.reduce(np.array(rows))
    return values


ROWS = {"conll04": (922, 231, 288), "wnut17": (3394, 1009, 1287), "srl_masc": (10002, 2573, 912)}


@pytest.mark.real
@pytest.mark.parametrize("name", list(ROWS))
def test_row_counts_and_tagging_nothing(name):
    task = task_of(name)
    splits = ("train", "validation", "test")
    assert tuple(len(task.examples(split)) for split in splits) == ROWS[name]
    examples = task.examples("test")
    nothing = scored(task, examples, [["O"] * len(example.references[0]) for example in examples])
    assert set(nothing.values()) == {0.0}
    right = scored(task, examples, [example.references[0] for example in examples])
    assert set(right.values()) == {100.0}
    for split in splits:
        for example in task.examples(split):
            shown = task.render(example)
            assert len(shown.words) == len(shown.tags)
            assert [task.labels[tag] for tag in shown.tags if tag is not None] == [
                tag for tag in example.references[0] if tag in task.labels
            ]


@pytest.mark.real
def test_masc_has_tags_that_its_training_file_lacks():
    task = task_of("srl_masc")
    for split in ("train", "validation", "test"):
        task.examples(split)
    assert task.labels[0] == "O" and list(task.labels[1:]) == sorted(task.labels[1:]) and len(task.labels) == 48 + 1
    said = "validation: 3 words have tags that the training file lacks (B-AA, I-AA): scored, always missed."
    assert task.deviations == (said,)


@pytest.mark.real
def test_the_given_verb_alone_scores_in_one_way_of_counting_and_not_in_the_other():
    task = task_of("srl_masc")
    examples = task.examples("test")
    verbs = []
    for example in examples:
        tags = ["O"] * len(example.references[0])
        tags[example.fields["predicate"]] = "B-V"
        verbs.append(tags)
    found = scored(task, examples, verbs)
    assert found["srl_f1_conll05"] == 0.0
    # 912 propositions: nearly every verb is one word, and precision counts those.
    assert 45 < found["span_f1"] < 55 and found["span_precision"] > 98, found


@pytest.mark.real
@pytest.mark.parametrize("name", ["conll04", "wnut17"])
def test_real_entities_are_iob2(name):
    """So the strict and the default mode agree on gold tags, and `hub_iob2` would refuse none of them."""
    task = task_of(name)
    for split in ("train", "validation", "test"):
        for example in task.examples(split):
            (tags,) = example.references
            assert len(strict_spans(tags)) == sum(tag.startswith("B-") for tag in tags)
            assert sum(tag != "O" for tag in tags) == sum(last - first + 1 for _, first, last in strict_spans(tags))


@pytest.mark.real
def test_saying_that_no_question_has_an_answer():
    task = task_of("squad_v2")
    examples = task.examples("validation")
    assert len(examples) == 11873 and sum(example.references == ("",) for example in examples) == 5945
    silent = {"text": "", "answer": "x", "null_odds": 1.0}
    found = scored(task, examples, [silent] * len(examples))
    assert round(found["f1"], 2) == round(found["exact_match"], 2) == 50.07
    assert round(found["best_f1"], 2) == round(found["best_exact_match"], 2) == 50.07


@pytest.mark.real
def test_squad_rows_and_the_first_answer():
    task = task_of("squad")
    examples = task.examples("validation")
    assert len(examples) == 10570
    for example in examples:
        start, end = task.render(example).answer
        assert example.fields["context"][start:end] == example.references[0]
    assert scored(task, examples, ["empty"] * len(examples))["f1"] < 0.1


@pytest.mark.parametrize(
    ("name", "tags", "paper"),
    [
        ("conll03", 9, "conll03"),
        ("ontonotes", 37, "ontonotes5"),
        ("conll05_wsj", 106, "conll05_srl_wsj"),
        ("conll05_brown", 106, "conll05_srl_brown"),
        ("conll12_srl", 116, "conll12_srl"),
    ],
)
def test_licensed_sets_have_the_papers_tags_and_name(name, tags, paper):
    """Sizes of the official inventories; the metrics of Table 3, and the task's key among the reported numbers."""
    from repro.papers import registry

    plain = config(name)
    assert len(plain.labels) == len(set(plain.labels)) == tags and plain.labels[0] == "O"
    assert plain.paper_name == paper and registry.cells(paper="liu2022", task=paper, kind="result")
    metrics = [build_metric(metric) for metric in plain.metrics]
    assert {cell.our_metric for cell in registry.cells(task=paper, kind="result")} == {metrics[0].outputs[0]}
    assert {cell.our_split for cell in registry.cells(task=paper, kind="result")} <= {"test", None, "validation"}
    if "05" in name or "12" in name:
        assert [metric.name for metric in metrics] == ["span_f1", "srl_f1_conll05"]
    other = config({"conll05_wsj": "conll05_brown", "conll05_brown": "conll05_wsj"}.get(name, name))
    assert other.labels == plain.labels


def test_hub_orders_of_conll03_are_two():
    """tner's order is another than that of the copy we load: with it the tags would be wrong, and refused."""
    plain = config("conll03")
    tner = ["O", "B-ORG", "B-MISC", "B-PER", "I-PER", "B-LOC", "I-ORG", "I-MISC", "I-LOC"]  # hub notes 2.5
    assert sorted(tner) == sorted(plain.options["hub_tags"]) and tner != plain.options["hub_tags"]
    assert plain.options["hub_iob2"] and plain.options["hub_column"] == "ner_tags"


def test_a_wrong_hub_order_is_refused(monkeypatch):
    datasets = pytest.importorskip("datasets")
    tner = ["O", "B-ORG", "B-MISC", "B-PER", "I-PER", "B-LOC", "I-ORG", "I-MISC", "I-LOC"]
    gold = ["B-PER", "I-PER", "O", "B-ORG", "I-ORG", "I-ORG"]
    plain = replace(config("conll03"), source="hub", check_rows=False)
    ours = plain.options["hub_tags"]

    def load(order):
        rows = [{"tokens": list("abcdef"), "ner_tags": [order.index(tag) for tag in gold]}]
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(rows))
        return in_head_format(plain).examples("validation")

    from repro.errors import DataError

    assert load(ours)[0].references == (gold,)
    with pytest.raises(DataError, match=r"not IOB2.*task\.options\.hub_tags"):
        load(tner)
