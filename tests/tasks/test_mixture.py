"""Mixtures of made-up tasks: what each part's rows become, and whose metrics score them."""

import json
from pathlib import Path
from typing import Any

import pytest

from repro.errors import ConfigError
from repro.evaluation.scoring import score
from repro.metrics.accuracy import Accuracy
from repro.metrics.f1_macro import MacroF1
from repro.metrics.span_f1 import SpanF1
from repro.tasks.base import Pair, Tagged, TextToText, batch_groups
from repro.tasks.mixture import Mixture
from repro.tasks.sentence_pair import SentencePair
from repro.tasks.tagging import Tagging
from repro.tasks.wording import Worded
from tests.tasks.making import make

PAIR = {"text_fields": ["a", "b"], "templates": [["{a}", "{b}"]]}


def nli(folder: Path, name: str, labels: list[str], rows: int, format: str = "pair", **options) -> SentencePair:
    folder = folder / name
    folder.mkdir()
    for file, split in (("train", "t"), ("val", "v"), ("test", "x")):
        lines = [{"a": f"{split}{name}{i}", "b": "b", "label": labels[i % len(labels)]} for i in range(rows)]
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metrics = [Accuracy(), MacroF1(classes=3)] if len(labels) == 3 else [Accuracy()]
    return make(
        SentencePair,
        name=name,
        format=format,
        data_dir=str(folder),
        labels=labels,
        metrics=metrics,
        options={**PAIR, **options},
    )


def ner(folder: Path, name: str, kind: str, rows: int) -> Tagging:
    folder = folder / name
    folder.mkdir()
    for file in ("train", "dev", "test"):
        (folder / f"{file}.txt").write_text("".join(f"Ann B-{kind}\nran{i} O\n\n" for i in range(rows)))
    options = {"files": {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}}
    labels = ["O", f"B-{kind}", f"I-{kind}"]
    return make(
        Tagging, name=name, format="tagging", data_dir=str(folder), labels=labels, metrics=[SpanF1()], options=options
    )


def mixture(format: str, parts: dict[str, Any], options: dict[str, Any] | None = None) -> Mixture:
    return make(Mixture, name="both", format=format, parts=parts, options=options)


@pytest.fixture
def pairs(tmp_path) -> Mixture:
    parts = {"two": nli(tmp_path, "two", ["n", "y"], 4), "three": nli(tmp_path, "three", ["a", "b", "c"], 6)}
    return mixture("pair", parts)


def test_the_examples_are_those_of_the_parts_one_after_the_other(pairs):
    examples = pairs.examples("train")
    assert [example.id for example in examples] == [f"two/train-{i}" for i in range(4)] + [
        f"three/train-{i}" for i in range(6)
    ]
    assert [pairs.part_of(example) for example in examples] == ["two"] * 4 + ["three"] * 6
    assert [example.references for example in examples] == [(i % 2,) for i in range(4)] + [(i % 3,) for i in range(6)]


def test_questions_get_a_start_and_an_end_a_part(tmp_path):
    """Rendered with the outputs of their own part, and parsed by it: the versions differ in what no answer means."""
    from repro.tasks.base import Span, SpanAnswer
    from repro.tasks.question_answering import QuestionAnswering

    parts = {}
    for name, unanswerable in (("one", False), ("two", True)):
        paragraph = {"context": "Ann ran.", "qas": []}
        for i in range(2):
            answers = [] if unanswerable and i else [{"text": "Ann", "answer_start": 0}]
            paragraph["qas"].append({"id": f"{name}{i}", "question": f" who {i}?", "answers": answers})
        (tmp_path / f"{name}.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
        options = {"files": {"train": f"{name}.json", "validation": f"{name}.json"}, "unanswerable": unanswerable}
        parts[name] = make(
            QuestionAnswering,
            name=name,
            format="span",
            data_dir=str(tmp_path),
            labels=[],
            metrics=[Accuracy()],
            options=options,
        )
    mixed = mixture("span", parts)
    examples = mixed.examples("train")
    assert [mixed.render(example) for example in examples] == [
        Span("who 0?", "Ann ran.", (0, 3), (0, 2)),
        Span("who 1?", "Ann ran.", (0, 3), (0, 2)),
        Span("who 0?", "Ann ran.", (0, 3), (2, 4)),
        Span("who 1?", "Ann ran.", None, (2, 4)),
    ]
    said = [mixed.parse(SpanAnswer((0, 3), 1.0), example) for example in examples]
    assert said[0] == "Ann" and said[3] == {"text": "", "answer": "Ann", "null_odds": 1.0}


def test_the_classes_of_the_parts_stand_side_by_side(pairs):
    assert pairs.labels == ("n", "y", "a", "b", "c")
    assert pairs.label_spans == {"two": (0, 2), "three": (2, 5)}
    rendered = [pairs.render(example) for example in pairs.examples("train")]
    assert rendered[1] == Pair("ttwo1", "b", 1, classes=(0, 2))
    assert rendered[9] == Pair("tthree5", "b", 4, classes=(2, 5))
    # What the head says among all classes is, for the part, one of its own.
    assert [pairs.parse(4, pairs.examples("train")[9]), pairs.parse(1, pairs.examples("train")[1])] == [2, 1]


def test_tags(tmp_path):
    mixed = mixture("tagging", {"x": ner(tmp_path, "x", "X", 2), "y": ner(tmp_path, "y", "Y", 3)})
    assert mixed.labels == ("O", "B-X", "I-X", "O", "B-Y", "I-Y")
    examples = mixed.examples("validation")
    assert [mixed.render(example) for example in examples[1:3]] == [
        Tagged(("Ann", "ran1"), (1, 0), classes=(0, 3)),
        Tagged(("Ann", "ran0"), (4, 3), classes=(3, 6)),
    ]
    assert mixed.parse([1, 0], examples[0]) == ["B-X", "O"]
    assert mixed.parse([4], examples[2]) == ["B-Y"]
    found = score(mixed, examples, [["B-X", "O"], ["O", "O"], *[["B-Y", "O"]] * 3])
    # Recall 1/2 and precision 1 in x, all right in y.
    assert found.values["x.span_f1"] == pytest.approx(200 / 3) and found.values["y.span_f1"] == 100
    assert found.values["average"] == pytest.approx((200 / 3 + 100) / 2)
    assert len(found.statistics["x.span_f1"]) == 2 and len(found.statistics["y.span_f1"]) == 3


def test_text_to_text_with_task_names(tmp_path):
    parts = {
        "two": Worded(nli(tmp_path, "two", ["n", "y"], 2, "text_to_text"), named=True, sentinel=False),
        "more": Worded(nli(tmp_path, "more", ["y", "z"], 2, "text_to_text"), named=True, sentinel=False),
    }
    mixed = mixture("text_to_text", parts)
    assert mixed.labels == ("n", "y", "z")
    assert [mixed.render(example) for example in mixed.examples("train")[1:3]] == [
        TextToText("two a: ttwo1 b: b", "y"),
        TextToText("more a: tmore0 b: b", "y"),
    ]
    examples = mixed.examples("train")
    assert [mixed.parse("y", example) for example in examples] == [1, 1, 0, 0]
    assert mixed.parse("n", examples[2]) == -1, "a label of another part"


def test_each_part_is_scored_by_its_own_metrics_and_the_average_weighs_parts_alike(pairs):
    examples = pairs.examples("validation")
    predictions = [0, 0, 0, 1, *(0, 1, 2, 0, 0, 0)]
    found = score(pairs, examples, predictions)
    three = MacroF1(classes=3)
    f1 = three.reduce([three.score(p, [g]) for p, g in zip(predictions[4:], [0, 1, 2] * 2, strict=True)])["f1_macro"]
    assert found.values == {
        "average": pytest.approx((75 + (400 / 6 + f1) / 2) / 2),
        "two.accuracy": 75.0,
        "three.accuracy": pytest.approx(400 / 6),
        "three.f1_macro": pytest.approx(f1),
        "three.task_score": pytest.approx((400 / 6 + f1) / 2),
    }
    assert list(found.values) == list(pairs.metrics[0].outputs)
    assert {name: len(rows) for name, rows in found.statistics.items()} == {
        "two.accuracy": 4,
        "three.accuracy": 6,
        "three.f1_macro": 6,
    }
    assert found.predictions == predictions and found.collapsed is None


def test_a_part_that_says_one_thing_only_is_named(pairs):
    found = score(pairs, pairs.examples("validation"), [1] * 4 + [0, 1, 2] * 2)
    assert found.collapsed == "two: every output is the same: 1"


def test_order_of_examples_does_not_matter_to_the_score(pairs):
    examples, predictions = pairs.examples("validation"), [0, 0, 0, 1, *(0, 1, 2, 0, 0, 0)]
    turned = score(pairs, examples[::-1], predictions[::-1])
    assert turned.values == pytest.approx(score(pairs, examples, predictions).values)


def test_fingerprint_and_deviations_say_whose_they_are(tmp_path):
    parts = {"two": nli(tmp_path, "two", ["n", "y"], 4), "three": nli(tmp_path, "three", ["a", "b", "c"], 6)}
    mixed = mixture("pair", parts, {"deviations": ["it lacks WSC."]})
    mixed.examples("train")
    assert {name: facts["rows"] for name, facts in mixed.fingerprint().items()} == {"two/train": 4, "three/train": 6}
    assert mixed.deviations == ("it lacks WSC.",)


def test_groups_are_given_where_they_are_asked_for(pairs):
    examples = pairs.examples("train")
    assert batch_groups(pairs, examples) is None
    apart = mixture("pair", pairs.parts, {"one_dataset_batches": True})
    assert batch_groups(apart, apart.examples("train")) == [0] * 4 + [1] * 6
    assert batch_groups(pairs.parts["two"], pairs.parts["two"].examples("train")) is None


def test_bad_mixtures_are_refused(pairs, tmp_path):
    with pytest.raises(ConfigError, match="needs two or more"):
        mixture("pair", {"two": pairs.parts["two"]})
    with pytest.raises(ConfigError, match=r"task\.parts\.x"):
        mixture("pair", {**pairs.parts, "x": ner(tmp_path, "x", "X", 2)})
    with pytest.raises(ConfigError, match=r"task\.format"):
        mixture("choice", pairs.parts)
    with pytest.raises(ConfigError, match=r"task\.options"):
        mixture("pair", pairs.parts, {"nope": 1})
