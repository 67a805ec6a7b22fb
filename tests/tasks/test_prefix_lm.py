"""LM adaptation: chunks, and split points that are uniform and depend on nothing but seed, split and number."""

import os
from pathlib import Path

import numpy as np
import pytest

from repro.errors import ConfigError, DataError
from repro.tasks.prefix_lm import PrefixLm, chunks, split_point
from tests.tasks.making import make

DATA = Path(os.environ.get("REPRO_DATA_ROOT") or Path(__file__).resolve().parents[3] / "shared" / "data")


def made(folder: Path, **changes) -> PrefixLm:
    options = {"words": 4, **changes.pop("options", {})}
    return make(PrefixLm, name="lm", format="text_to_text", data_dir=str(folder), options=options, **changes)


def books(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def whole(task: PrefixLm, split: str) -> list[str]:
    return [f"{example.fields['source']} {example.references[0]}" for example in task.examples(split)]


def test_chunks_are_of_equal_size_but_the_last():
    words = [str(i) for i in range(11)]
    assert chunks(words, 4) == [words[:4], words[4:8], words[8:]]
    assert chunks(words[:9], 4) == [words[:4], words[4:8]], "one word cannot be split"
    assert chunks([], 4) == []


def test_a_document_is_a_file_and_no_chunk_spans_two(tmp_path):
    books(tmp_path, train__b="f g\n\nh", train__a="a b c\nd e  é", validation__c="x y")
    task = made(tmp_path)
    assert whole(task, "train") == ["a b c d", "e é", "f g h"]
    assert whole(task, "validation") == ["x y"]
    assert [example.id for example in task.examples("train")] == ["train-0", "train-1", "train-2"]


def test_a_document_is_a_line(tmp_path):
    books(tmp_path, train__a="a b c d e\n\nf g\n")
    assert whole(made(tmp_path, options={"document": "line"}), "train") == ["a b c d", "f g"]


def test_every_so_many_th_document_is_held_out(tmp_path):
    books(tmp_path, **{f"book{i}": f"w{i} x" for i in range(7)})
    one_pattern = {"files": {"train": "*.txt", "validation": "*.txt"}, "held_out": 3}
    task = made(tmp_path, options=one_pattern)
    assert whole(task, "validation") == ["w0 x", "w3 x", "w6 x"]
    assert whole(task, "train") == ["w1 x", "w2 x", "w4 x", "w5 x"]


def test_source_and_target_are_the_chunk(tmp_path):
    books(tmp_path, train__a=" ".join(f"w{i}" for i in range(400)))
    task = made(tmp_path, options={"words": 40})
    for number, example in enumerate(task.examples("train")):
        rendered = task.render(example)
        source, target = rendered.source.split(), rendered.target.split()
        assert source + target == [f"w{40 * number + i}" for i in range(40)]
        assert len(source) == split_point(40, 0, "train", number) and target


def test_split_points_are_uniform():
    """Chi-square of 20,000 points over the 9 places of a chunk of 10 words: 99.9 % of uniform draws are below 26.1."""
    points = np.array([split_point(10, 0, "train", number) for number in range(20_000)])
    assert set(points) == set(range(1, 10))
    counts = np.bincount(points, minlength=10)[1:]
    expected = len(points) / 9
    assert float(((counts - expected) ** 2 / expected).sum()) < 26.1
    # Neighbours know nothing of each other.
    assert abs(float(np.corrcoef(points[:-1], points[1:])[0, 1])) < 0.03


def test_two_words_have_one_place():
    assert {split_point(2, 0, "train", number) for number in range(50)} == {1}


def test_a_split_point_depends_on_seed_split_and_number():
    def points(seed, split):
        return [split_point(1000, seed, split, number) for number in range(20)]

    assert points(0, "train") == points(0, "train")
    assert len({tuple(points(*at)) for at in ((0, "train"), (1, "train"), (0, "validation"))}) == 3


def test_the_record_says_what_differs(tmp_path):
    task = made(books(tmp_path, train__a="a b"))
    assert any("C4" in said for said in task.deviations) and any(
        "words, not tokens" in said for said in task.deviations
    )
    task.examples("train")
    assert task.fingerprint()["train"]["rows"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": 1}, r"task\.options\.words is 1: give a whole number of at least 2"),
        ({"held_out": 1}, r"task\.options\.held_out is 1"),
        ({"split_seed": -1}, r"task\.options\.split_seed is -1"),
        ({"words": "many"}, r"task\.options\.words is 'many'"),
        ({"document": "page"}, r"task\.options\.document is 'page'"),
        ({"nope": 1}, r"task\.options"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        made(tmp_path, options=options)


def test_a_folder_without_text_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no file train/\*\.txt .*task\.data_dir"):
        made(tmp_path).examples("train")


@pytest.mark.real
def test_real_books():
    folder = DATA / "text" / "novels"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set REPRO_DATA_ROOT)")
    one_pattern = {"files": {"train": "1*.txt", "validation": "1*.txt"}, "held_out": 10, "words": 350}
    task = make(PrefixLm, name="lm", format="text_to_text", data_dir=str(folder), options=one_pattern)
    sizes = []
    for split in ("train", "validation"):
        examples = task.examples(split)
        words = sum(len(text.split()) for text in whole(task, split))
        sizes.append(words)
        share = np.mean([len(example.fields["source"].split()) for example in examples]) / (words / len(examples))
        assert 0.45 < share < 0.55, "half of the words are source, on average"
    assert sizes[0] > 3 * sizes[1] > 0


def test_a_hub_corpus_is_its_rows(monkeypatch):
    """Rows are documents; the column is named; a row without it is refused with its place."""
    from repro.tasks.files import Source

    rows = [("corpus row 0", {"body": "one two three four"}), ("corpus row 1", {"body": "five six seven"})]
    monkeypatch.setattr(Source, "hub_rows", lambda self, split: rows)
    hub = make(
        PrefixLm,
        name="lm",
        format="text_to_text",
        data_dir="nowhere",
        source="hub",
        hub_id="someone/corpus",
        options={"words": 3, "column": "body"},
    )
    assert whole(hub, "train") == ["one two three", "five six seven"]
    wrong = make(
        PrefixLm,
        name="lm",
        format="text_to_text",
        data_dir="nowhere",
        source="hub",
        hub_id="someone/corpus",
        options={"words": 3},
    )
    with pytest.raises(DataError, match="corpus row 0"):
        wrong.examples("train")
