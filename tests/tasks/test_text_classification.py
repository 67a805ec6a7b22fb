"""Tables of texts with a class: formats, labels, templates, and what is refused with its line."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import Pair, TextToText
from repro.tasks.text_classification import TextClassification, read_table
from tests.tasks.making import make

UNHURRIED = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=80)
CSV = 'id,first,second,label\n1,"a, b",c,no\n\n2,"d\ne","f ""g""",yes\n'


def made(folder, format="pair", options=None, **changes):
    options = {"columns": ["first", "second"], "files": {"train": "train.csv"}, **(options or {})}
    arguments = {"labels": ["no", "yes"], **changes}
    return make(TextClassification, name="toy", format=format, data_dir=str(folder), options=options, **arguments)


def write(folder, text, name="train.csv"):
    (folder / name).write_text(text, encoding="utf-8", newline="")


def test_rows_and_both_forms(tmp_path):
    write(tmp_path, CSV)
    first, second = made(tmp_path).examples("train")
    assert first.fields == {"first": "a, b", "second": "c"} and first.references == (0,)
    assert second.fields == {"first": "d\ne", "second": 'f "g"'}
    assert made(tmp_path).render(second) == Pair("d\ne", 'f "g"', 1)
    text = made(tmp_path, "text_to_text")
    assert text.render(first) == TextToText("first: a, b second: c", "no")
    assert (text.parse("yes", first), text.parse(" yes", first), made(tmp_path).parse(1, first)) == (1, -1, 1)


def test_one_column_a_template_and_clusters(tmp_path):
    write(tmp_path, CSV)
    options = {"columns": ["second"], "template": ["Is {second} so?"], "cluster": "second"}
    example = made(tmp_path, options=options).examples("train")[0]
    assert made(tmp_path, options=options).render(example) == Pair("Is c so?", None, 0) and example.cluster == "c"
    assert made(tmp_path, options={"columns": ["second"]}).render(example) == Pair("c", None, 0)


def test_formats_agree(tmp_path):
    rows = [("a", "b c", "no"), ("\u00e9", 'say "x"', "yes")]
    columns = ("first", "second", "label")
    write(tmp_path, "first\tsecond\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows), "train.tsv")
    write(tmp_path, "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows), "train.jsonl")
    write(tmp_path, '\ufefffirst,second,label\r\na,b c,no\r\n\u00e9,"say ""x""",yes\r\n')
    tasks = [made(tmp_path, options={"files": {"train": f"train.{end}"}}) for end in ("csv", "tsv", "jsonl")]
    examples = [task.examples("train") for task in tasks]
    assert examples[0] == examples[1] == examples[2] and len(examples[0]) == 2
    assert len({task.fingerprint()["train"]["sha256"] for task in tasks}) == 1


def test_numbers_are_labels_too_and_a_test_split_may_have_none(tmp_path):
    write(
        tmp_path, '{"first": "a", "second": "b", "label": 1}\n{"first": "a", "second": "b", "label": "0"}\n', "t.jsonl"
    )
    task = made(tmp_path, labels=["0", "1"], options={"files": {"train": "t.jsonl", "test": "t2.jsonl"}})
    assert [example.references for example in task.examples("train")] == [(1,), (0,)]
    write(tmp_path, '{"first": "a", "second": "b"}\n{"first": "a", "second": "b", "label": -1}\n', "t2.jsonl")
    assert [example.references for example in task.examples("test")] == [(), ()]
    assert task.render(task.examples("test")[0]) == Pair("a", "b", -1)
    write(tmp_path, "first,second,label\na,b,\n", "t2.csv")
    assert made(tmp_path, options={"files": {"test": "t2.csv"}}).examples("test")[0].references == ()


def test_the_hub_gives_the_same_examples(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"first": ["a"], "second": ["b"], "label": [1]})
    table = table.cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: table)
    write(tmp_path, "first,second,label\na,b,yes\n")
    hub, local = made("", source="hub", hub_id="o/n"), made(tmp_path)
    assert hub.examples("train") == local.examples("train") and hub.fingerprint() == local.fingerprint()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("first,second,label\na,b\n", r"train\.csv:2 has 2 cells, the first line names 3"),
        (
            "first,second,label\na,b,no\na,b,maybe\n",
            r"train\.csv:3: the label is 'maybe': .*'no', 'yes'",
        ),
        ("first,second\na,b\n", r"train\.csv:2 lacks the column 'label' \(task\.options\.label_column\)"),
        ("first,label\na,no\n", r"train\.csv:2 lacks the field 'second'"),
        ("first,first,label\na,b,no\n", r"train\.csv:1 must name the columns, each once"),
        ("first,,label\na,b,no\n", r"train\.csv:1 must name the columns"),
        ('first,second,label\na,"b"x,no\n', r"train\.csv:2 is no row of a table"),
        ('first,second,label\na,"b,no\n', r"train\.csv:2 is no row of a table"),
        ("first,second,label\n", "has no row"),
        ("", r"train\.csv is empty"),
    ],
)
def test_faults_name_the_line(tmp_path, text, fault):
    write(tmp_path, text)
    with pytest.raises(DataError, match=fault):
        made(tmp_path).examples("train")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"options": {"columns": []}}, r"task\.options\.columns is \[\]"),
        ({"options": {"columns": "first"}}, r"task\.options\.columns is 'first'"),
        ({"options": {"files": {"train": "train.xlsx"}}}, r"train\.xlsx: allowed endings are \.csv, \.tsv, \.jsonl"),
        ({"options": {"template": ["{third}"]}}, r"'third' is no column of .*\['first', 'second'\]"),
        ({"options": {"template": ["a", "b", "c"]}}, "number of segments"),
        ({"options": {"cluster": "id"}}, r"task\.options\.cluster"),
        ({"options": {"colums": []}}, "colums"),
        ({"labels": ["no"]}, r"task\.labels"),
        ({"format": "tagging"}, r"task\.format"),
    ],
)
def test_a_config_that_cannot_work_is_refused(tmp_path, changes, fault):
    with pytest.raises(ConfigError, match=fault):
        made(tmp_path, **changes)


@UNHURRIED
@given(st.binary(max_size=80) | st.text('first,second,label\n\r\t"noyes\u2028', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_with_their_place(tmp_path, data):
    for name in ("train.csv", "train.tsv", "train.jsonl"):
        for head in (b"", b"first,second,label\n", b"first\tsecond\tlabel\n"):
            (tmp_path / name).write_bytes(head + data)
            try:
                made(tmp_path, options={"files": {"train": name}}).examples("train")
            except DataError as error:
                assert name in str(error)


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=6)


@UNHURRIED
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=4))
def test_what_the_csv_writer_writes_is_read(tmp_path, rows):
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("first", "second"), *rows])
    write(tmp_path, text.getvalue())
    kept = [row for row in rows if any(cell.strip() for cell in row)]  # blank lines are skipped
    found = read_table(tmp_path / "train.csv")
    assert [tuple(row.values()) for _, row in found] == kept


def test_a_columns_name_is_no_format_string(tmp_path):
    write(tmp_path, "review.text,0,label\na,b,no\nc,d,yes\n")
    options = {"columns": ["review.text", "0"]}
    filled = made(tmp_path, options=options | {"template": ["It: {review.text}", "{0}!"]})
    assert filled.render(filled.examples("train")[0]) == Pair("It: a", "b!", 0)
    task = made(tmp_path, options=options)
    assert task.render(task.examples("train")[0]) == Pair("a", "b", 0)
    text = made(tmp_path, "text_to_text", options)
    assert text.render(text.examples("train")[1]) == TextToText("review.text: c 0: d", "yes")


def test_a_cell_of_a_whole_document_is_read(tmp_path):
    long = "word " * 40_000
    write(tmp_path, f"first,second,label\n{long.strip()},b,no\n")
    write(tmp_path, f"first\tsecond\tlabel\n{long.strip()}\tb\tno\n", "train.tsv")
    for end in ("csv", "tsv"):
        (example,) = made(tmp_path, options={"files": {"train": f"train.{end}"}}).examples("train")
        assert len(example.fields["first"]) == len(long) - 1


def test_labels_that_yaml_took_for_true_and_false_are_said(tmp_path):
    """`labels: [no, yes]` without quotes is [False, True] to YAML."""
    write(tmp_path, CSV)
    with pytest.raises(DataError, match=r"'False', 'True'.*YAML reads yes, no.*in quotes"):
        made(tmp_path, labels=["False", "True"]).examples("train")
