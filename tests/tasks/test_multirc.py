"""MultiRC rows of our own making, in the official nested format and as the hub has them."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import Pair, TextToText
from repro.tasks.multirc import MultiRc
from tests.tasks.making import make

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80)
ROW = {
    "idx": 4,
    "version": 1.1,
    "passage": {
        "text": "<b>Sent 1: </b>Ann ran home.<br><b>Sent 2: </b>Lee  sat.",
        "questions": [
            {
                "question": "Who ran?",
                "idx": 9,
                "answers": [{"text": "Ann", "idx": 30, "label": 1}, {"text": "<b>Lee</b>", "idx": 31, "label": 0}],
            },
            {"question": "Who sat?", "idx": 10, "answers": [{"text": "Lee", "idx": 32, "label": 1}]},
        ],
    },
}


def write(folder: Path, name: str, *rows: object) -> None:
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")


def multirc(folder, format="text_to_text", **changes):
    changes = {"labels": ["False", "True"], **changes}
    return make(MultiRc, name="multirc", format=format, data_dir=str(folder), metrics=[], **changes)


def test_as_lester_shows_it(tmp_path):
    write(tmp_path, "train.jsonl", ROW)
    task = multirc(tmp_path)
    paragraph = "paragraph: Sent 1: Ann ran home. Sent 2: Lee  sat."
    assert [task.render(example) for example in task.examples("train")] == [
        TextToText(f"question: Who ran? answer: Ann {paragraph}", "True"),
        TextToText(f"question: Who ran? answer: Lee {paragraph}", "False"),
        TextToText(f"question: Who sat? answer: Lee {paragraph}", "True"),
    ]


def test_as_p_tuning_v2_shows_it(tmp_path):
    write(tmp_path, "val.jsonl", ROW)
    task = multirc(tmp_path, "pair")
    text = ROW["passage"]["text"]
    assert [task.render(example) for example in task.examples("validation")] == [
        Pair(text, "Who ran? Ann", 1),
        Pair(text, "Who ran? <b>Lee</b>", 0),
        Pair(text, "Who sat? Lee", 1),
    ]


def test_answers_know_their_question_and_their_passage(tmp_path):
    write(tmp_path, "val.jsonl", ROW, {**ROW, "idx": 5})
    examples = multirc(tmp_path, "pair").examples("validation")
    assert [example.group for example in examples[:4]] == [
        *("validation-4-9", "validation-4-9", "validation-4-10", "validation-5-9")
    ]
    assert [example.cluster for example in examples[2:4]] == ["validation-4", "validation-5"]
    assert len({example.id for example in examples}) == 6
    assert examples[1].meta["idx"] == {"paragraph": 4, "question": 9, "answer": 31}


def test_parse_takes_the_exact_label(tmp_path):
    write(tmp_path, "val.jsonl", ROW)
    task = multirc(tmp_path)
    example = task.examples("validation")[0]
    assert [task.parse(text, example) for text in ("False", "True", "true", "True.", "")] == [0, 1, -1, -1, -1]
    assert multirc(tmp_path, "pair").parse(1, example) == 1


def test_rows_are_answers(tmp_path):
    write(tmp_path, "train.jsonl", ROW)
    with pytest.raises(DataError, match="has 3 rows, the original train split of multirc has 27243"):
        multirc(tmp_path, rows={"train": 27243}).examples("train")
    task = multirc(tmp_path, rows={"train": 3})
    assert len(task.examples("train")) == task.fingerprint()["train"]["rows"] == 3 and task.deviations == ()


def test_the_test_split_has_no_labels_and_the_hub_gives_the_same(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = [
        {
            **{"paragraph": ROW["passage"]["text"], "question": question["question"], "answer": answer["text"]},
            "idx": {"paragraph": 4, "question": question["idx"], "answer": answer["idx"]},
            "label": answer["label"],
        }
        for question in ROW["passage"]["questions"]
        for answer in question["answers"]
    ]
    labelled = datasets.Dataset.from_list(rows).cast_column("label", datasets.ClassLabel(names=["False", "True"]))
    hidden = datasets.Dataset.from_list([{**row, "label": -1} for row in rows])
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, split, **__: hidden if split == "test" else labelled)
    write(tmp_path, "train.jsonl", ROW)
    bare = json.loads(json.dumps(ROW))
    for question in bare["passage"]["questions"]:
        for answer in question["answers"]:
            del answer["label"]
    write(tmp_path, "test.jsonl", bare)
    for format in ("text_to_text", "pair"):
        hub, local = multirc("", format, source="hub", hub_id="o/n"), multirc(tmp_path, format)
        for split in ("train", "test"):
            assert hub.examples(split) == local.examples(split)
        assert hub.fingerprint() == local.fingerprint()
        unlabelled = local.render(local.examples("test")[0])
        assert unlabelled.target == "" if format == "text_to_text" else unlabelled.label == -1
    write(tmp_path, "val.jsonl", bare)
    with pytest.raises(DataError, match=r"val\.jsonl:1 questions 1 answers 1 lacks the field 'label'"):
        multirc(tmp_path).examples("validation")


def test_a_config_that_cannot_work_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"task\.labels"):
        multirc(tmp_path, labels=["True", "False"])
    with pytest.raises(ConfigError, match=r"task\.format is 'choice'"):
        multirc(tmp_path, "choice")


SCALARS = st.none() | st.booleans() | st.integers(-2, 9) | st.text("a<b>\ud800", max_size=4)
ANSWERS = st.fixed_dictionaries({}, optional={"text": SCALARS, "idx": SCALARS, "label": SCALARS})
QUESTIONS = st.fixed_dictionaries(
    {}, optional={"question": SCALARS, "idx": SCALARS, "answers": st.lists(ANSWERS | SCALARS, max_size=2) | SCALARS}
)
PASSAGES = st.fixed_dictionaries(
    {}, optional={"text": SCALARS, "questions": st.lists(QUESTIONS | SCALARS, max_size=2) | SCALARS}
)


@UNHURRIED
@given(st.fixed_dictionaries({}, optional={"idx": SCALARS, "passage": PASSAGES | SCALARS}))
def test_a_row_is_read_or_refused_with_its_place(tmp_path_factory, row):
    folder = tmp_path_factory.getbasetemp() / "multirc"
    folder.mkdir(exist_ok=True)
    for name, split in (("train", "train"), ("test", "test")):
        write(folder, f"{name}.jsonl", row)
        try:
            task = multirc(folder)
            examples = task.examples(split)
        except DataError as error:
            assert f"{name}.jsonl" in str(error)
            assert f"{name}.jsonl:1" in str(error) or "has no row" in str(error)
        else:
            assert all(task.render(example) for example in examples)
