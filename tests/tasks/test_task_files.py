"""Reading rows: every fault is one DataError that names the file, the line and the fix."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from repro.config.schema import SplitLimits
from repro.errors import ConfigError, DataError
from repro.tasks.base import Example
from repro.tasks.files import (
    Loaded,
    Sizes,
    Source,
    Splits,
    content_hash,
    read_jsonl,
    read_lines,
    text_field,
)
from repro.tasks.subsets import Selection, as_limits, kept_positions

# The machine may be busy: no deadline.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)

FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}


def written(folder: Path, data: bytes) -> Path:
    path = folder / "rows.txt"
    path.write_bytes(data)
    return path


def splits(folder: Path, count: int, **changes) -> Splits:
    """Splits over `count` made-up rows."""
    source = Source("toy", "local", str(folder), FILES, "it is at example.org.")
    examples = [Example(f"e{i}", {"n": i}, (i,)) for i in range(count)]
    sizes = Sizes(changes.get("rows") or {}, changes.get("editions") or {}, changes.get("lookalikes") or {})

    def load(split: str) -> Loaded:
        return Loaded([[split, i] for i in range(count)], examples, ("as read.",), changes.get("expected"))

    selection = Selection(changes.get("limit"), changes.get("low_data"), changes.get("fraction"))
    return Splits(source, load, sizes=sizes, check_rows=changes.get("check_rows", True), selection=selection)


def test_lines_keep_their_text_and_carry_their_number(tmp_path):
    # A byte-order mark and carriage returns go; U+2028 and U+0085 end no line.
    path = written(tmp_path, b"\xef\xbb\xbfone \r\n\r\ntw\xe2\x80\xa8o\n\xc2\x85 three")
    assert read_lines(path) == [
        (f"{path}:1", "one "),
        (f"{path}:2", ""),
        (f"{path}:3", "tw\u2028o"),
        (f"{path}:4", "\x85 three"),
    ]


def test_bad_utf8_names_line_and_byte(tmp_path):
    path = written(tmp_path, b"fine\nfi\xffne\n")
    with pytest.raises(DataError, match=r"rows\.txt:2 is not UTF-8 \(byte 3 of the line is 0xff\)"):
        read_lines(path)


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path, data):
    with pytest.raises(DataError, match=r"rows\.txt is empty"):
        read_lines(written(tmp_path, data))


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_lines(tmp_path)


def test_jsonl_skips_blank_lines_and_counts_them(tmp_path):
    path = written(tmp_path, b'{"a": 1}\n\n{"a": 2}\n')
    assert read_jsonl(path) == [(f"{path}:1", {"a": 1}), (f"{path}:3", {"a": 2})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": ', "is not JSON"),
        (b"[1, 2]", "an? JSON object"),
        (b'"text"', "an? JSON object"),
        (b"[" * 100_000, "is not JSON"),
        (b"9" * 5_000, "is not JSON"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, reason):
    with pytest.raises(DataError, match=rf"rows\.txt:2 .*{reason}"):
        read_jsonl(written(tmp_path, b'{"a": 1}\n' + line + b"\n"))


def test_text_field_faults():
    assert text_field({"a": ""}, "a", "f:1") == ""
    with pytest.raises(DataError, match=r"f:1 lacks the field 'b': it has \['a'\]"):
        text_field({"a": "x"}, "b", "f:1")
    with pytest.raises(DataError, match="f:1: the field 'a' is 3, a string"):
        text_field({"a": 3}, "a", "f:1")
    with pytest.raises(DataError, match="surrogate"):
        text_field(json.loads(r'{"a": "\ud800"}'), "a", "f:1")


@UNHURRIED
@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_data_error(tmp_path_factory, data):
    path = written(tmp_path_factory.getbasetemp(), data)
    for read in (read_lines, read_jsonl):
        try:
            rows = read(path)
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert isinstance(rows, list)


def test_content_hash_depends_on_content_and_order_only():
    rows = [{"a": "é", "b": 1}, {"a": "x", "b": 2}]
    assert content_hash(rows) == content_hash([{"b": 1, "a": "é"}, {"b": 2, "a": "x"}])
    assert len({content_hash(rows), content_hash(rows[::-1]), content_hash(rows[:1]), content_hash([])}) == 4


def test_missing_folder_and_file_say_where_and_which_key(tmp_path):
    source = Source("toy", "local", str(tmp_path / "none"), FILES, "it is at example.org.")
    with pytest.raises(DataError, match=r"none .*does not exist.*task\.data_dir.*paths\.data_root.*example\.org"):
        source.file("train")
    source = Source("toy", "local", str(tmp_path), FILES, "it is at example.org.")
    with pytest.raises(DataError, match=r"val\.jsonl .*does not exist.*task\.data_dir.*paths\.data_root.*example\.org"):
        source.file("validation")


def test_source_kinds():
    with pytest.raises(ConfigError, match=r"task\.source is 'disk'.*local.*hub"):
        Source("toy", "disk", ".", FILES, "")
    with pytest.raises(ConfigError, match=r"task\.hub_id"):
        Source("toy", "hub", ".", FILES, "")


# Hub -----------------------------------------------------------------------------------------------------------------


def test_hub_rows_through_the_library(tmp_path, monkeypatch):
    """A local folder is a data set to `load_dataset`: the true library runs, without a network."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"a": "x", "label": 1}\n{"a": "y", "label": 0}\n')
    source = Source("toy", "hub", "", FILES, "", hub_id=str(folder))
    (first, row), (second, _) = source.hub_rows("train")
    assert row == {"a": "x", "label": 1}
    assert first == f"{folder} (train) row 1" and second.endswith("row 2")
    with pytest.raises(DataError, match=r"test\) cannot be loaded .*task\.hub_id.*task\.source=local"):
        source.hub_rows("test")


def test_hub_class_ids_become_names(monkeypatch):
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"label": names, "tags": datasets.List(names), "n": datasets.Value("int64")})
    rows = [{"label": 1, "tags": [0, 1], "n": 1}, {"label": -1, "tags": [], "n": 0}]
    asked = {}

    def load(path, name, *, revision, split):
        asked.update(path=path, name=name, revision=revision, split=split)
        return datasets.Dataset.from_list(rows, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load)
    read = Source("toy", "hub", "", FILES, "", "o/n", "conf", "main").hub_rows("validation")
    assert asked == {"path": "o/n", "name": "conf", "revision": "main", "split": "validation"}
    assert [row for _, row in read] == [
        {"label": "yes", "tags": ["no", "yes"], "n": 1},
        {"label": None, "tags": [], "n": 0},
    ]
    assert read[0][0] == "o/n (conf, main, validation) row 1"


def test_a_hub_fault_is_one_sentence_with_its_reason(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def load(*_, **__):
        raise ConnectionError("Couldn't reach the hub\nand a long trace")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(
        DataError, match=r"o/n \(train\).*ConnectionError: Couldn't reach the hub\).*source=local"
    ) as found:
        Source("toy", "hub", "", FILES, "", "o/n").hub_rows("train")
    assert "\n" not in str(found.value)


# Limits and sizes ----------------------------------------------------------------------------------------------------


def test_no_limit_keeps_all():
    assert kept_positions(5, "train", SplitLimits()) == [0, 1, 2, 3, 4]
    assert kept_positions(5, "train", SplitLimits(train=5)) == [0, 1, 2, 3, 4]
    assert kept_positions(5, "train", SplitLimits(train=9, test=1)) == [0, 1, 2, 3, 4]


@UNHURRIED
@given(total=st.integers(1, 300), most=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_a_subset_is_ordered_nested_and_its_seeds_own(total, most, seed):
    limits = SplitLimits(train=most, validation=most, seed=seed)
    kept = kept_positions(total, "train", limits)
    assert kept == sorted(set(kept)) and len(kept) == min(most, total) and set(kept) <= set(range(total))
    assert kept == kept_positions(total, "train", limits)
    assert set(kept) <= set(kept_positions(total, "train", SplitLimits(train=most + 7, seed=seed)))


def test_seed_and_split_change_the_subset_but_not_the_test_split():
    most = dict.fromkeys(("train", "validation", "test"), 50)
    one, other = SplitLimits(**most, seed=1), SplitLimits(**most, seed=2)
    assert kept_positions(1000, "train", one) != kept_positions(1000, "train", other)
    assert kept_positions(1000, "train", one) != kept_positions(1000, "validation", one)
    assert kept_positions(1000, "train", one) != list(range(50))
    assert kept_positions(1000, "test", one) == list(range(50))


def test_limits_from_any_config_shape():
    expected = SplitLimits(train=3, seed=4)
    assert as_limits(None) == SplitLimits()
    assert (
        as_limits(expected)
        == as_limits({"train": 3, "seed": 4})
        == as_limits(OmegaConf.create(vars(expected)))
        == expected
    )
    with pytest.raises(ConfigError, match=r"task\.limit\.test is 0"):
        as_limits({"test": 0})


def test_a_wrong_size_names_both_numbers_and_the_fix(tmp_path):
    wrong = splits(tmp_path, 3, rows={"train": 5, "validation": 3})
    with pytest.raises(
        DataError, match=r"train\.jsonl has 3 rows, the original train split of toy has 5.*check_rows=false"
    ):
        wrong.examples("train")
    assert len(wrong.examples("validation")) == 3
    assert len(wrong.examples("test")) == 3  # no size is known
    assert set(wrong.fingerprint()) == {"validation", "test"}


def test_an_unchecked_size_is_a_deviation(tmp_path):
    loose = splits(tmp_path, 3, rows={"train": 5}, check_rows=False, limit={"train": 2})
    assert loose.deviations() == ()
    assert len(loose.examples("train")) == 2
    assert loose.deviations() == (
        "as read.",
        "train: 3 rows, the original has 5.",
        "train: 2 of 3 examples (task.limit.train).",
    )


def test_other_editions_are_named_and_lookalikes_refused(tmp_path):
    told = {
        "rows": {"train": 5},
        "editions": {"train": {3: "the newer copy."}},
        "lookalikes": {"train": {2: "Cleaned."}},
    }
    newer = splits(tmp_path, 3, **told)
    assert len(newer.examples("train")) == 3 and newer.deviations() == ("as read.", "the newer copy.")
    with pytest.raises(DataError, match=r"has 2 rows, the original train split of toy has 5: Cleaned\. it is at"):
        splits(tmp_path, 2, **told).examples("train")
    assert splits(tmp_path, 2, check_rows=False, **told).examples("train")
    with pytest.raises(DataError, match=r"has 3 rows, .* has 7"):
        splits(tmp_path, 3, expected=7, **told).examples("train")
    assert splits(tmp_path, 7, expected=7, **told).deviations() == ()


def test_low_data_subsets_are_kept_and_said(tmp_path):
    low = splits(tmp_path, 40, low_data={"size": 10, "subset": 3})
    assert [len(low.examples(split)) for split in ("train", "validation", "test")] == [10, 3, 40]
    assert sum("task.low_data, our draw 3" in text for text in low.deviations()) == 2
    assert len(splits(tmp_path, 40, fraction=0.2).examples("train")) == 8
    with pytest.raises(DataError, match=r"task\.low_data\.size=50 .*the split has 40"):
        splits(tmp_path, 40, low_data={"size": 50}).examples("train")


def test_a_split_without_rows_or_of_another_name_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no row"):
        splits(tmp_path, 0, check_rows=False).examples("train")
    with pytest.raises(ConfigError, match=r"'dev'.*train.*validation.*test"):
        splits(tmp_path, 3).examples("dev")


def test_fingerprint_is_of_the_whole_split(tmp_path):
    whole, cut = splits(tmp_path, 4), splits(tmp_path, 4, limit={"train": 2})
    assert whole.fingerprint() == {}
    assert [example.fields["n"] for example in whole.examples("train")] == [0, 1, 2, 3]
    assert whole.examples("train") is whole.examples("train")
    cut.examples("train")
    expected = {"train": {"rows": 4, "sha256": content_hash([["train", i] for i in range(4)])}}
    assert whole.fingerprint() == cut.fingerprint() == expected


def test_a_file_that_unpacks_without_end_is_refused(tmp_path):
    import gzip

    path = tmp_path / "bomb.txt.gz"
    path.write_bytes(gzip.compress(b"0" * 2**27))
    with pytest.raises(DataError, match=r"unpacks to more than 16,777,216 bytes"):
        read_lines(path)
