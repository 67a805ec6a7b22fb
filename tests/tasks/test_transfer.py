"""MRPC and QQP the one on the other: which rows stand where, whose words are read, and what the runner makes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.task_schema import SplitLimits
from repro.errors import ConfigError, DataError
from repro.evaluation.scoring import score
from repro.metrics.accuracy import Accuracy
from repro.metrics.f1 import BinaryF1
from repro.tasks.base import Pair, TextToText
from repro.tasks.sentence_pair import SentencePair
from repro.tasks.transfer import Transfer
from tests.tasks.making import make

WORDS = {"duplicate": "equivalent"}
ROUTE = {"train": "qqp", "test": "mrpc", "words": WORDS}


def part(folder: Path, name: str, labels: list[str], format: str, **changes: Any) -> SentencePair:
    folder = folder / name
    folder.mkdir(exist_ok=True)
    for file, split in (("train", "t"), ("val", "v")):
        rows = [{"a": f"{split}{name}{i}", "b": "b", "label": i % 2} for i in range(4)]
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"text_fields": ["a", "b"], "templates": [["{a}", "{b}"]], "label_type": "index"}
    return make(SentencePair, name=name, format=format, data_dir=str(folder), labels=labels, options=options, **changes)


def transfer(folder: Path, format: str = "text_to_text", options: Any = ROUTE, **changes: Any) -> Transfer:
    parts = {
        "qqp": part(folder, "qqp", ["not_duplicate", "duplicate"], format),
        "mrpc": part(folder, "mrpc", ["not_equivalent", "equivalent"], format, **changes),
    }
    return joined(format, parts, options)


def joined(format: str, parts: dict[str, Any], options: Any = ROUTE) -> Transfer:
    metrics = [BinaryF1(), Accuracy()]
    return make(Transfer, name="qqp_to_mrpc", format=format, parts=parts, options=options, metrics=metrics)


def test_trained_and_chosen_on_one_and_tested_on_the_other(tmp_path: Path) -> None:
    task = transfer(tmp_path)
    shown = {split: task.render(task.examples(split)[1]) for split in ("train", "validation", "test")}
    assert shown == {
        "train": TextToText("a: tqqp1 b: b", "duplicate"),
        "validation": TextToText("a: vqqp1 b: b", "duplicate"),
        "test": TextToText("a: vmrpc1 b: b", "equivalent"),
    }
    assert task.labels == ("not_duplicate", "duplicate")
    assert [example.id for example in task.examples("test")[:2]] == ["mrpc/validation-0", "mrpc/validation-1"]
    assert set(task.fingerprint()) == {"qqp/train", "qqp/validation", "mrpc/validation"}


def test_words_are_translated_for_the_other_data_set_alone(tmp_path: Path) -> None:
    task = transfer(tmp_path)
    own, other = task.examples("validation")[0], task.examples("test")[0]
    said = ["not_duplicate", "duplicate", "not_equivalent", "equivalent", "duplicates", ""]
    assert [task.parse(text, own) for text in said] == [0, 1, -1, -1, -1, -1]
    # As strings, wherever the word stands: its own words pass unchanged.
    assert [task.parse(text, other) for text in said] == [0, 1, 0, 1, -1, -1]


def test_score_of_the_other_data_set(tmp_path: Path) -> None:
    task = transfer(tmp_path)
    examples = task.examples("test")
    found = score(task, examples, [task.parse("duplicate", example) for example in examples])  # type: ignore[arg-type]
    assert found.values == {"f1": pytest.approx(200 / 3), "accuracy": 50.0, "task_score": pytest.approx(350 / 6)}


def test_an_encoders_class_ids_need_no_words(tmp_path: Path) -> None:
    task = transfer(tmp_path, "pair")
    example = task.examples("test")[1]
    assert task.render(example) == Pair("vmrpc1", "b", 1) and task.parse(1, example) == 1


def test_a_limit_on_test_is_one_on_what_is_tested() -> None:
    limit = SplitLimits(train=5, validation=4, test=3, seed=1)
    assert Transfer.part_limit("qqp", ROUTE, limit) == limit
    assert Transfer.part_limit("mrpc", ROUTE, limit) == SplitLimits(train=None, validation=3, test=3, seed=1)


def test_whose_deviation_it_is_is_said(tmp_path: Path) -> None:
    task = transfer(tmp_path, rows={"validation": 408}, check_rows=False)
    task.examples("test")
    assert task.deviations == ("mrpc: validation: 4 rows, the original has 408.",)
    with pytest.raises(DataError, match="has 4 rows, the original validation split of mrpc has 408"):
        transfer(tmp_path, rows={"validation": 408}).examples("test")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({**ROUTE, "train": "sst2"}, r"task\.options\.train is 'sst2'"),
        ({**ROUTE, "test": "qqp"}, "is what is trained on"),
        ({"train": "qqp", "test": "mrpc", "word": {}}, "unknown: word"),
        ({}, "missing: train, test"),
    ],
)
def test_a_route_that_is_none(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        transfer(tmp_path, options=options)


def test_parts_that_do_not_fit(tmp_path: Path) -> None:
    parts = {"qqp": part(tmp_path, "qqp", ["a", "b"], "pair"), "mrpc": part(tmp_path, "mrpc", ["a", "b", "c"], "pair")}
    with pytest.raises(ConfigError, match="a transfer needs as many in both"):
        joined("pair", parts)
    with pytest.raises(ConfigError, match="a transfer has two"):
        joined("pair", {"qqp": parts["qqp"]})


@pytest.mark.smoke
@pytest.mark.parametrize(("name", "model"), [("qqp_to_mrpc", "tiny-t5"), ("mrpc_to_qqp", "tiny-bert")])
def test_through_the_runner(name: str, model: str, quick: Callable[..., dict[str, Any]]) -> None:
    """Chosen on the one's validation split, reported as `test` on the other's; and comparable with Table 2's split."""
    from repro.papers.registry import cells
    from tests.nested import run

    record = run(quick("method=fine_tuning", f"model={model}", f"task={name}")).record
    assert record is not None and record.status in ("done", "collapsed")
    assert set(record.metrics) == {"validation", "test"} and set(record.metrics["test"]) == {
        *("f1", "accuracy", "task_score")
    }
    train, other = name.split("_to_")
    assert set(record.provenance["data"]) == {f"{train}/train", f"{train}/validation", f"{other}/validation"}
    reported = cells(paper="lester2021", task=name, at="Table 2")
    assert len(reported) == 4
    assert {cell.our_split for cell in reported} == {"test"} and {cell.our_metric for cell in reported} == {
        *("f1", "accuracy")
    }
    assert {cell.vars["train_task"] for cell in reported} == {train}
