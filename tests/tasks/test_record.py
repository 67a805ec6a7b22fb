"""ReCoRD rows of our own making, in the official format and as the hub has them."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import Ranking, TextToText
from repro.tasks.record import Record, with_sentences
from tests.tasks.making import make

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80)
TEXT = "Ann beat Lee in Rome.\n@highlight\nLee fell\n@highlight\nAnn won"
SPANS = [{"start": 9, "end": 11}, {"start": 0, "end": 2}, {"start": 16, "end": 19}, {"start": 33, "end": 35}]
"""Lee, Ann, Rome, Lee: `end` is the last character."""
QUERY = {"query": "In Rome, @placeholder ran; @placeholder won.", "idx": 8}
ANSWERS = [{"start": 0, "end": 2, "text": "Ann"}, {"start": 9, "end": 11, "text": "Lee"}, {"text": "Ann"}]
ROW = {"source": "made", "idx": 3, "passage": {"text": TEXT, "entities": SPANS}, "qas": [QUERY | {"answers": ANSWERS}]}
SHOWN = f"query: {QUERY['query']} entities: Ann, Lee, Rome passage: Ann beat Lee in Rome. Lee fell. Ann won"


def write(folder: Path, name: str, *rows: object) -> None:
    (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def record(folder, format="text_to_text", **changes):
    return make(Record, name="record", format=format, data_dir=str(folder), metrics=[], **changes)


def test_as_lester_trains_on_it(tmp_path):
    """A row a gold answer, each answer once."""
    write(tmp_path, "train.jsonl", ROW)
    task = record(tmp_path, rows={"train": 1})
    examples = task.examples("train")
    assert [task.render(example) for example in examples] == [TextToText(SHOWN, "Ann"), TextToText(SHOWN, "Lee")]
    assert [example.id for example in examples] == ["train-3-8-0", "train-3-8-1"]
    assert task.fingerprint()["train"]["rows"] == 1, "a row is a query"
    assert task.deviations == ()


def test_as_lester_scores_it(tmp_path):
    """A row a query, all its answers to be compared with."""
    write(tmp_path, "val.jsonl", {**ROW, "qas": [*ROW["qas"], {**QUERY, "idx": 9, "answers": ANSWERS[1:2]}]})
    task = record(tmp_path)
    examples = task.examples("validation")
    assert [example.references for example in examples] == [("Ann", "Lee"), ("Lee",)]
    assert task.render(examples[0]) == TextToText(SHOWN, "Ann")
    assert {example.cluster for example in examples} == {"validation-3"}
    assert task.parse(" Ann ", examples[0]) == " Ann ", "the metric normalises"


def test_as_p_tuning_v2_shows_it(tmp_path):
    write(tmp_path, "train.jsonl", ROW)
    task = record(tmp_path, "ranking")
    (example,) = task.examples("train")
    first = "Ann beat Lee in Rome.\n- Lee fell\n- Ann won"
    seconds = [f"In Rome, {name} ran; {name} won." for name in ("Ann", "Lee", "Rome")]
    assert task.render(example) == Ranking(tuple((first, second) for second in seconds), (1, 1, 0))
    assert task.deviations == ()


def test_the_highest_score_is_the_answer(tmp_path):
    write(tmp_path, "train.jsonl", ROW)
    task = record(tmp_path, "ranking")
    (example,) = task.examples("train")
    assert task.parse([-0.25, -0.5, -3.0], example) == "Ann"
    # The official code sorts (score, entity) downwards.
    assert task.parse([-0.25, 0.5, 0.5], example) == sorted([(-0.25, "Ann"), (0.5, "Lee"), (0.5, "Rome")])[-1][1]


@pytest.mark.parametrize(
    ("passage", "shown"),
    [
        ("A.\n@highlight\nB", "A. B"),
        ('He said "A"\n@highlight\nB!\n@highlight\nC?\n@highlight\nD', 'He said "A" B! C? D'),
        ("A's'\n@highlight\nB\n@highlight\nC", "A's' B. C"),
        ("A)\n@highlight\nB\nC", "A). B\nC"),
    ],
)
def test_highlights_become_sentences(passage, shown):
    assert with_sentences(passage) == shown


def test_the_test_split_has_no_answers(tmp_path):
    write(tmp_path, "test.jsonl", {**ROW, "qas": [QUERY]})
    for format in ("text_to_text", "ranking"):
        task = record(tmp_path, format)
        (example,) = task.examples("test")
        assert example.references == ()
        rendered = task.render(example)
        assert rendered == TextToText(SHOWN, "") if format == "text_to_text" else rendered.labels == (-1, -1, -1)


def test_hub_rows_give_the_same_examples(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    row = {"passage": TEXT, "query": QUERY["query"], "entities": ["Lee", "Ann", "Rome"], "answers": ["Ann", "Lee"]}
    row |= {"entity_spans": {"text": ["Lee"], "start": [9], "end": [12]}, "idx": {"passage": 3, "query": 8}}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list([row]))
    write(tmp_path, "train.jsonl", ROW)
    for format in ("text_to_text", "ranking"):
        hub, local = record("", format, source="hub", hub_id="o/n"), record(tmp_path, format)
        assert hub.examples("train") == local.examples("train")
        assert hub.fingerprint() == local.fingerprint()


def test_fewglue_is_refused_by_its_name_unless_its_size_does_not_matter(tmp_path):
    write(tmp_path, "train.32.jsonl", *[ROW] * 32)
    with pytest.raises(DataError, match=r"train\.32\.jsonl is FewGLUE's sample of 32 queries.*check_rows=false"):
        record(tmp_path).examples("train")
    task = record(tmp_path, "ranking", check_rows=False, rows={"train": 100730})
    assert len(task.examples("train")) == 32
    assert task.deviations == ("train: 32 rows, the original has 100730.",)
    with pytest.raises(DataError, match=r"val\.jsonl .* does not exist"):
        record(tmp_path, check_rows=False).examples("validation")
    write(tmp_path, "train.jsonl", ROW)
    assert len(record(tmp_path, "ranking").examples("train")) == 1, "the whole file goes before"
    with pytest.raises(DataError, match="has 1 rows, the original train split of record has 100730"):
        record(tmp_path, rows={"train": 100730}).examples("train")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"qas": [{**QUERY, "answers": []}]}, "qas 1 has no answer"),
        ({"qas": [QUERY]}, "qas 1: 'answers' is None: a list of objects"),
        ({"qas": [{"query": "Who?", "idx": 1, "answers": ANSWERS}]}, "the query has no @placeholder"),
        ({"passage": {"text": TEXT, "entities": []}}, "has no entities"),
        ({"passage": {"text": "Ann", "entities": [{"start": 1, "end": 3}]}}, "ends at character 3: the passage has 3"),
        (
            {"passage": {"text": "Ann", "entities": [{"start": 2, "end": 1}]}},
            "'end' is 1: a whole number of at least 2",
        ),
        ({"passage": {"text": "Ann", "entities": [{"start": -1, "end": 1}]}}, "'start' is -1"),
        ({"idx": None}, "'idx' is None"),
    ],
)
def test_a_row_that_is_none(tmp_path, change, reason):
    write(tmp_path, "train.jsonl", ROW, {**ROW, **change})
    with pytest.raises(DataError, match=rf"train\.jsonl:2.*{reason}"):
        record(tmp_path).examples("train")


def test_a_config_that_cannot_work_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"task\.labels"):
        record(tmp_path, labels=["a", "b"])
    with pytest.raises(ConfigError, match=r"task\.format is 'pair'"):
        record(tmp_path, "pair")


SCALARS = st.none() | st.booleans() | st.integers(-1, 5) | st.text("a@\ud800", max_size=4) | st.just("@placeholder")
SPAN = st.fixed_dictionaries({}, optional={"start": SCALARS, "end": SCALARS, "text": SCALARS})
LISTS = st.lists(SPAN | SCALARS, max_size=2) | SCALARS
ASKED = st.fixed_dictionaries({}, optional={"query": SCALARS, "idx": SCALARS, "answers": LISTS})
PASSAGE = st.fixed_dictionaries({}, optional={"text": SCALARS, "entities": LISTS})
ROWS = st.fixed_dictionaries(
    {}, optional={"idx": SCALARS, "passage": PASSAGE | SCALARS, "qas": st.lists(ASKED | SCALARS, max_size=2) | SCALARS}
)


@UNHURRIED
@given(ROWS)
def test_a_row_is_read_or_refused_with_its_place(tmp_path_factory, row):
    folder = tmp_path_factory.getbasetemp() / "record"
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        write(folder, f"{split}.jsonl", row)
        for format in ("text_to_text", "ranking"):
            task = record(folder, format)
            try:
                examples = task.examples(split)
            except DataError as error:
                assert f"{split}.jsonl:1" in str(error) or "has no row" in str(error)
            else:
                assert all(task.render(example) for example in examples)
