"""SST-2, MRPC and QQP: tables and json of our own making in the official formats, through the files of conf/task."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import Pair, TextToText
from repro.tasks.tables import read_rows, read_table
from tests.tasks.making import from_conf

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80)
CONF = Path(__file__).resolve().parents[2] / "conf" / "task"
MSR = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
ROWS = ['1\t10\t11\tAnn "ran".\tAnn ran, home.', "0\t12\t13\tLee sat.\tBob stood.", '1\t14\t15\tHe said "no.\tNo.']


def built(name, folder, format="text_to_text", **changes):
    return from_conf(name, format, data_dir=str(folder), **changes)


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_bytes(text.encode("utf-8"))


@pytest.fixture
def mrpc(tmp_path):
    write(tmp_path, msr_paraphrase_train__txt=MSR + "".join(f"{row}\r\n" for row in ROWS))
    write(tmp_path, msr_paraphrase_test__txt=MSR + f"{ROWS[0]}\r\n", mrpc_dev_ids__tsv="12\t13\n")
    return tmp_path


def test_sst2(tmp_path):
    write(tmp_path, train__tsv='sentence\tlabel\na "warm" film \t1\ndull\t0\n', test__tsv="index\tsentence\n0\tfine\n")
    task = built("sst2", tmp_path, check_rows=False)
    assert [task.render(example) for example in task.examples("train")] == [
        TextToText('sentence: a "warm" film ', "positive"),
        TextToText("sentence: dull", "negative"),
    ]
    assert task.examples("test")[0].references == ()
    assert built("sst2", tmp_path, "pair", check_rows=False).render(task.examples("train")[0]) == Pair(
        'a "warm" film ', None, 1
    )


def test_mrpc_as_the_corpus_publishes_it(mrpc):
    """A byte-order mark, Windows line ends, quotation marks that are text, and GLUE's list of validation rows."""
    task = built("mrpc", mrpc, rows={"train": 2, "validation": 1, "test": 1}, sha256={"test": ""})
    assert [task.render(example) for example in task.examples("train")] == [
        TextToText('sentence1: Ann "ran". sentence2: Ann ran, home.', "equivalent"),
        TextToText('sentence1: He said "no. sentence2: No.', "equivalent"),
    ]
    assert [task.render(example).target for example in task.examples("validation")] == ["not_equivalent"]
    assert built("mrpc", mrpc, "pair", check_rows=False).render(task.examples("test")[0]) == Pair(
        'Ann "ran".', "Ann ran, home.", 1
    )
    assert task.examples("test")[0].references == (1,), "this test split has labels"
    assert task.deviations == ()


def test_mrpc_of_the_wrong_size_is_refused_with_both_numbers(mrpc):
    with pytest.raises(DataError, match=r"has 2 rows, the original train split of mrpc has 3668: .*mrpc_dev_ids"):
        built("mrpc", mrpc).examples("train")


def test_mrpc_without_the_list_says_how_to_get_it_or_do_without(mrpc):
    (mrpc / "mrpc_dev_ids.tsv").unlink()
    with pytest.raises(DataError, match=r"mrpc_dev_ids\.tsv.*dl\.fbaipublicfiles\.com.*validation_list\.ids=null"):
        built("mrpc", mrpc).examples("validation")
    lists = {"options": {"validation_list": {"ids": None, "rows": 1}}}
    task = built("mrpc", mrpc, **lists, rows={"train": 2, "validation": 1})
    parts = [task.render(example).source for split in ("train", "validation") for example in task.examples(split)]
    whole = {"sentence1: {3} sentence2: {4}".format(*row.split("\t")) for row in ROWS}
    assert len(parts) == 3 and set(parts) == whole
    assert [said.split(":")[0] for said in task.deviations] == ["train", "validation"]
    assert "1 rows drawn at random are for validation" in task.deviations[0]
    again = built("mrpc", mrpc, **lists, rows={"train": 2, "validation": 1})
    assert again.examples("validation") == task.examples("validation"), "always the same rows"


def test_mrpc_lists_that_do_not_fit(mrpc):
    write(mrpc, mrpc_dev_ids__tsv="12\t13\n99\t98\n")
    with pytest.raises(DataError, match=r"mrpc_dev_ids\.tsv:2 names the row \('99', '98'\), which is not in"):
        built("mrpc", mrpc, check_rows=False).examples("train")
    with pytest.raises(DataError, match=r"has 3 rows and .*rows=408: no row would be left"):
        built("mrpc", mrpc, options={"validation_list": {"ids": None}}, check_rows=False).examples("train")
    with pytest.raises(ConfigError, match=r"validation_list\.rows=0"):
        built("mrpc", mrpc, options={"validation_list": {"rows": 0}})
    with pytest.raises(ConfigError, match=r"validation_list\.columns is empty"):
        built("mrpc", mrpc, options={"validation_list": {"columns": []}})


def test_qqp_as_json_and_as_glues_table(tmp_path):
    rows = {"0": {"text_a": "Who ran?", "text_b": "Who is running?", "label": "1"}}
    write(tmp_path, train__json=json.dumps(rows))
    table = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n7\t1\t2\tWho ran?\tWho is running?\t1\n"
    write(tmp_path, train__tsv=table, test__tsv="id\tquestion1\tquestion2\n0\tWho?\tWhy?\n")
    local = built("qqp", tmp_path, check_rows=False)
    glue = built("qqp", tmp_path, options={"files": {"train": "train.tsv", "test": "test.tsv"}}, check_rows=False)
    for task in (local, glue):
        shown = TextToText("question1: Who ran? question2: Who is running?", "duplicate")
        assert [task.render(example) for example in task.examples("train")] == [shown]
    assert local.fingerprint() == glue.fingerprint()
    assert glue.examples("test")[0].references == ()
    assert built("qqp", tmp_path, "pair", check_rows=False).render(local.examples("train")[0]) == Pair(
        "Who ran?", "Who is running?", 1
    )
    with pytest.raises(DataError, match="has 1 rows, the original train split of qqp has 363846"):
        built("qqp", tmp_path).examples("train")


@pytest.mark.parametrize("label", ["2", "-1", "", 1, True, None, "duplicate"])
def test_a_label_that_is_no_digit_of_a_class(tmp_path, label):
    rows = {"a": {"text_a": "x", "text_b": "y", "label": label}}
    write(tmp_path, train__json=json.dumps(rows))
    with pytest.raises(
        DataError, match=r"train\.json row 'a': the label is .*: allowed is a class id from 0 to 1, as t"
    ):
        built("qqp", tmp_path, check_rows=False).examples("train")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\tb\tb\nx\ty\tz\n", r":1 names a column twice"),
        ("a\tb\nx\ty\nx\n", r":3 has 1 fields between tabs, the first line names 2"),
        ("a\tb\n\n", r":2 has 1 fields"),
        ("a\tb\nx\ty\tz\n", r":2 has 3 fields"),
        ("", "is empty"),
    ],
)
def test_a_table_that_is_none(tmp_path, text, reason):
    write(tmp_path, t__tsv=text)
    with pytest.raises(DataError, match=rf"t\.tsv ?{reason}"):
        read_table(tmp_path / "t.tsv")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("7", "an object or a list of rows"),
        ('{"a": 1}', "row 'a' is 1"),
        ('[{}, "x"]', "row 2 is 'x'"),
    ],
)
def test_a_json_file_of_no_rows(tmp_path, text, reason):
    write(tmp_path, t__json=text)
    with pytest.raises(DataError, match=rf"t\.json.*{reason}"):
        read_rows(tmp_path / "t.json")


def test_a_json_list_is_rows_too(tmp_path):
    write(tmp_path, t__json='[{"a": 1}, {"a": 2}]')
    assert [row for _, row in read_rows(tmp_path / "t.json")] == [{"a": 1}, {"a": 2}]


@UNHURRIED
@given(st.binary(max_size=40) | st.text("a\t\n1\r\ufeff", max_size=30).map(lambda text: text.encode()))
def test_no_bytes_crash_a_reader(tmp_path_factory, data):
    """Accepted, or refused with the file, its line where one is at fault, and a reason."""
    folder = tmp_path_factory.getbasetemp() / "tables"
    folder.mkdir(exist_ok=True)
    for name in ("t.tsv", "t.json", "t.jsonl"):
        (folder / name).write_bytes(data)
        try:
            rows = read_rows(folder / name)
        except DataError as error:
            assert name in str(error) and len(str(error)) > len(str(folder / name)) + 10
        else:
            assert all(isinstance(row, dict) for _, row in rows)
    (folder / "train.tsv").write_bytes(b"sentence\tlabel\n" + data)
    task = built("sst2", folder, check_rows=False)
    try:
        examples = task.examples("train")
    except DataError as error:
        assert "train.tsv" in str(error)
    else:
        assert all(example.references[0] in (0, 1) for example in examples)
