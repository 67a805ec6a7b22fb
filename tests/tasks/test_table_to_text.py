"""E2E lines of our own making: a line is an example in training, a distinct input elsewhere."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import TextToText
from repro.tasks.table_to_text import TableToText, csv_pairs, linearised, source_and_target
from tests.tasks.making import make

# The machine may be busy: no deadline.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)

INN = "name : The Inn | Type : pub"
BAR = "name : Bar 1 | area : riverside"
LINES = f"{INN}||The Inn is a pub . \n{INN}||A pub , The Inn . \n{BAR}||Bar 1 is by the river . \n"


def e2e(folder, **changes):
    return make(TableToText, name="e2e", data_dir=str(folder), **{"format": "text_to_text", "metrics": [], **changes})


def write(folder: Path, text: str, split: str = "train") -> None:
    (folder / f"src1_{split}.txt").write_text(text, encoding="utf-8")


def test_training_has_an_example_a_line(tmp_path):
    write(tmp_path, LINES)
    task = e2e(tmp_path)
    examples = task.examples("train")
    assert [example.references for example in examples] == [
        ("The Inn is a pub .",),
        ("A pub , The Inn .",),
        ("Bar 1 is by the river .",),
    ]
    assert [task.render(example) for example in examples][1] == TextToText(INN, "A pub , The Inn .")
    assert [example.cluster for example in examples] == [INN, INN, BAR]
    assert task.labels == () and task.format == "text_to_text"


@pytest.mark.parametrize(("split", "file"), [("validation", "valid"), ("test", "test")])
def test_evaluation_has_an_example_an_input(tmp_path, split, file):
    write(tmp_path, LINES + f"{INN}||The pub called The Inn . \n", file)
    task = e2e(tmp_path, rows={split: 4})
    first, second = task.examples(split)
    assert first.references == ("The Inn is a pub .", "A pub , The Inn .", "The pub called The Inn .")
    assert second.references == ("Bar 1 is by the river .",)
    assert (first.id, second.id) == (f"{split}-0", f"{split}-1")
    assert task.render(first) == TextToText(INN, "The Inn is a pub .")
    assert task.fingerprint()[split]["rows"] == 4


def test_rows_count_lines_and_the_limit_counts_inputs(tmp_path):
    write(tmp_path, LINES, "test")
    with pytest.raises(DataError, match=r"has 3 rows, .* has 4693.*check_rows=false"):
        e2e(tmp_path, rows={"test": 4693}).examples("test")
    limited = e2e(tmp_path, rows={"test": 3}, limit={"test": 1})
    (example,) = limited.examples("test")
    assert example.fields["source"] == INN and len(example.references) == 2
    assert limited.deviations[-1] == "test: 1 of 2 examples (task.limit.test)."


def test_parse_strips_and_keeps_empty(tmp_path):
    write(tmp_path, LINES)
    task = e2e(tmp_path)
    example = task.examples("train")[0]
    assert [task.parse(text, example) for text in (" The Inn . ", "", " \n")] == ["The Inn .", "", ""]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a||b\nno bars\n", r"src1_train\.txt:2 is 'no bars'"),
        ("a||b||c\n", r"src1_train\.txt:1 .*exactly one"),
        ("a||b\n\n||b\n", r"src1_train\.txt:3 "),
        ("a|| \n", r"src1_train\.txt:1 "),
        ("", r"src1_train\.txt is empty"),
    ],
)
def test_malformed_lines_are_named(tmp_path, text, reason):
    write(tmp_path, text)
    with pytest.raises(DataError, match=reason):
        e2e(tmp_path).examples("train")


def test_other_bad_inputs(tmp_path):
    with pytest.raises(DataError, match=r"src1_valid\.txt.*task\.data_dir.*PrefixTuning"):
        e2e(tmp_path).examples("validation")
    (tmp_path / "src1_train.txt").write_bytes(b"a||b\na||\xa3 5\n")
    with pytest.raises(DataError, match=r"src1_train\.txt:2 is not UTF-8"):
        e2e(tmp_path).examples("train")
    with pytest.raises(ConfigError, match=r"task\.format is 'pair'"):
        e2e(tmp_path, format="pair")
    with pytest.raises(ConfigError, match=r"task\.labels"):
        e2e(tmp_path, labels=["pub"])
    with pytest.raises(ConfigError, match="separator"):
        e2e(tmp_path, options={"separator": "|"})


# The challenge's own files -------------------------------------------------------------------------------------------


def test_csv_becomes_the_authors_lines(tmp_path):
    rows = [
        '"name[The Inn], eatType[pub]","The Inn is a ""pub"".\nCome in."',
        '"name[The Inn], eatType[pub]",A pub.',
        "",
        "name[Bar],Bar.",
    ]
    (tmp_path / "testset_w_refs.csv").write_text("\ufeffMR,ref\r\n" + "\r\n".join(rows) + "\r\n", encoding="utf-8")
    task = e2e(tmp_path, options={"files": {"test": "testset_w_refs.csv"}})
    first, second = task.examples("test")
    assert first.fields["source"] == INN and first.references == ('The Inn is a "pub".\nCome in.', "A pub.")
    assert second.references == ("Bar.",)
    assert task.fingerprint()["test"]["rows"] == 3
    assert any("csv's references are not tokenised" in text for text in task.deviations)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mr,text\na,b\n", r"t\.csv:1 is \['mr', 'text'\]: the header"),
        ("mr,ref\nname[A]\n", r"t\.csv:2 is \['name\[A\]'\]: a table and a text"),
        ("mr,ref\nname[A], \n", r"t\.csv:2 .*a table and a text"),
        ('mr,ref\nname[A],"b\n', r"t\.csv:2 is no csv"),
        ("mr,ref\nname[A],b\nname[A]; food[B],c\n", r"t\.csv:3: "),
        ('mr,ref\n"name[A], rating[5]",c\n', r"t\.csv:2: E2E has no attribute 'rating', only name, eatType"),
    ],
)
def test_faults_of_a_csv(tmp_path, text, reason):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        e2e(tmp_path, options={"files": {"train": "t.csv"}}).examples("train")


def test_the_cleaned_set_is_told_by_its_counts(tmp_path):
    rows = {"train": 42061, "validation": 4672, "test": 4693}
    write(tmp_path, f"{INN}||A pub .\n" * 33525)
    with pytest.raises(DataError, match=r"has 33525 rows, .* has 42061: So many has the cleaned E2E"):
        e2e(tmp_path, rows=rows).examples("train")
    write(tmp_path, "".join(f"name : Inn {i % 1000}||A pub .\n" for i in range(4693)), "test")
    with pytest.raises(
        DataError, match=r"has 1000 distinct inputs, .* has 630, though both have 4693 rows: .*cleaned E2E"
    ):
        e2e(tmp_path, rows=rows).examples("test")
    assert len(e2e(tmp_path, rows=rows, check_rows=False).examples("test")) == 1000
    write(tmp_path, "".join(f"name : Inn {i % 630}||A pub .\n" for i in range(4693)), "test")
    assert len(e2e(tmp_path, rows=rows).examples("test")) == 630


@UNHURRIED
@given(text=st.text('mr,ef\n"[]name \r\ud800', max_size=30))
def test_no_csv_raises_anything_but_data_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(("mr,ref\n" * (len(text) % 2) + text).encode("utf-8", "surrogatepass"))
    try:
        pairs = list(csv_pairs(path))
    except DataError as error:
        assert "fuzz.csv" in str(error)
    else:
        assert all(" : " in source and target for source, target in pairs)


# Hub -----------------------------------------------------------------------------------------------------------------


def test_the_originals_attributes_as_the_authors_write_them():
    table = (
        "name[The Inn], eatType[coffee shop], food[Fast food], priceRange[£20-25], customer rating[3 out of 5], "
        "area[city centre], familyFriendly[no], near[Café, The]"
    )
    assert linearised(table, "r") == (
        "name : The Inn | Type : coffee shop | food : Fast food | price : £ 20 - 25 | customer rating : 3 out of 5 | "
        "area : city centre | family friendly : no | near : Café, The"
    )
    assert linearised("priceRange[more than £30]", "r") == "price : more than £ 30"
    assert linearised("near[All-Bar]", "r") == "near : All-Bar"


@pytest.mark.parametrize("table", ["", "name", "name[A", "name[A] food[B]", "name[A]; food[B]", "[A]", "name[A]]"])
def test_a_malformed_table_is_refused(table):
    with pytest.raises(DataError, match="row 9"):
        linearised(table, "row 9")


def test_hub_rows(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [
        {"meaning_representation": "name[The Inn], eatType[pub]", "human_reference": "The Inn is a pub."},
        {"meaning_representation": "name[The Inn], eatType[pub]", "human_reference": "A pub, The Inn."},
    ]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(rows))
    task = e2e("", source="hub", hub_id="tuetschek/e2e_nlg", hub_revision="refs/convert/parquet")
    (example,) = task.examples("test")
    assert example.fields["source"] == INN and example.references == ("The Inn is a pub.", "A pub, The Inn.")
    assert any("not tokenised" in deviation for deviation in task.deviations)
    assert not any("not tokenised" in deviation for deviation in e2e(tmp_path).deviations)
    rows[0]["human_reference"] = None
    with pytest.raises(DataError, match=r"train\) row 1: the field 'human_reference'"):
        task.examples("train")


# Fuzz ----------------------------------------------------------------------------------------------------------------


@UNHURRIED
@given(line=st.text("a| \té\u2028", max_size=20))
def test_no_line_raises_anything_but_data_error(line):
    try:
        sides = source_and_target(line, "f:7")
    except DataError as error:
        assert str(error).startswith("f:7")
    else:
        assert line.count("||") >= 1 and all(side == side.strip() != "" for side in sides)


@UNHURRIED
@given(table=st.text("name[], £-", max_size=20))
def test_no_table_raises_anything_but_data_error(table):
    try:
        source = linearised(table, "row 7")
    except DataError as error:
        assert str(error).startswith("row 7")
    else:
        assert " : " in source
