"""Column files of our own making, and spans of the hub, as one tag a word."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.metrics.spans import spans
from repro.metrics.strict_span_f1 import strict_spans
from repro.tasks.base import Tagged
from repro.tasks.tagging import Tagging, bio_tags, hub_sentence, read_sentences
from repro.tasks.tags import iob2, to_iob2
from tests.tasks.making import make

# The machine may be busy: no deadline.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)

LABELS = ["O", "B-Loc", "B-Peop", "I-Loc", "I-Peop"]
TEXT = "-DOCSTART-\n\nAnn B-Peop\nLee I-Peop\nleft O\n\nParis B-Loc\n\n"


def tagging(folder, **changes):
    arguments = {"format": "tagging", "labels": LABELS, "metrics": [], **changes}
    return make(Tagging, name="conll04", data_dir=str(folder), **arguments)


def write(folder: Path, text: str, name: str = "train.txt") -> None:
    (folder / name).write_text(text, encoding="utf-8", newline="")


def test_sentences_tags_and_ids(tmp_path):
    write(tmp_path, TEXT)
    task = tagging(tmp_path)
    first, second = task.examples("train")
    assert first.fields["words"] == ("Ann", "Lee", "left")
    assert first.references == (["B-Peop", "I-Peop", "O"],)
    assert (first.id, second.id) == ("train-0", "train-1")
    assert task.render(first) == Tagged(("Ann", "Lee", "left"), (2, 4, 0))
    assert task.render(second) == Tagged(("Paris",), (1,))
    assert task.labels == tuple(LABELS)
    assert task.fingerprint()["train"]["rows"] == 2


def test_files_are_named_as_the_authors_name_them(tmp_path):
    for name, word in (("train.txt", "a"), ("dev.txt", "b"), ("test.txt", "c")):
        write(tmp_path, f"{word} O\n\n", name)
    task = tagging(tmp_path)
    words = [task.examples(split)[0].fields["words"] for split in ("train", "validation", "test")]
    assert words == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_sentence_is_kept_without_a_blank_line_and_said(tmp_path, end):
    write(tmp_path, TEXT + "Rome B-Loc" + end)
    task = tagging(tmp_path)
    assert task.deviations == ()
    assert [example.fields["words"][0] for example in task.examples("train")] == ["Ann", "Paris", "Rome"]
    assert task.deviations == ("train: the last sentence, after which no blank line stands, is kept.",)


def test_a_complete_file_adds_no_deviation(tmp_path):
    write(tmp_path, TEXT)
    task = tagging(tmp_path)
    task.examples("train")
    assert task.deviations == ()


def test_repeated_and_whitespace_only_blank_lines_and_documents(tmp_path):
    write(tmp_path, "a O\n\t\n \n\r\nb O\n-DOCSTART- -X- O\nc O\n\n")
    assert [example.fields["words"] for example in tagging(tmp_path).examples("train")] == [("a",), ("b",), ("c",)]


def test_another_column_format_needs_options_only(tmp_path):
    write(tmp_path, "1\tNew York\tNNP\tB-Loc\n2\tis\tVB\tO\n\n", "words.conll")
    options = {"files": {"train": "words.conll"}, "separator": "\t", "token_column": 1}
    (example,) = tagging(tmp_path, options=options).examples("train")
    assert example.fields["words"] == ("New York", "is") and example.references == (["B-Loc", "O"],)
    write(tmp_path, "B-Loc x Rome\n\n")
    (example,) = tagging(tmp_path, options={"token_column": -1, "tag_column": 0}).examples("train")
    assert example.fields["words"] == ("Rome",) and example.references == (["B-Loc"],)


def test_parse_gives_tag_names_and_leaves_unseen_words_out(tmp_path):
    write(tmp_path, TEXT)
    task = tagging(tmp_path)
    example = task.examples("train")[0]
    assert task.parse([2, 4, 0], example) == ["B-Peop", "I-Peop", "O"]
    assert task.parse([2], example) == ["B-Peop"]
    assert task.parse([], example) == []
    with pytest.raises(ValueError, match="has 3 words, but 4 tags"):
        task.parse([0, 0, 0, 0], example)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a O\nb B-Org\n", r"train\.txt:2: the tag 'B-Org' is not one of .*B-Loc.*task\.labels"),
        ("a O\n\nb\n", r"train\.txt:3 is 'b': it has 1 columns"),
        ("a O\n B-Loc\n", r"train\.txt:2 is ' B-Loc'"),
        ("a O\nb \n", r"train\.txt:2 is 'b '"),
        ("a\tO\n", r"train\.txt:1 is .*separated by ' '"),
        ("", r"train\.txt is empty"),
        ("-DOCSTART-\n\n", r"train\.txt has no row"),
    ],
)
def test_malformed_files_are_named(tmp_path, text, reason):
    write(tmp_path, text)
    with pytest.raises(DataError, match=reason):
        tagging(tmp_path).examples("train")


def test_other_bad_inputs(tmp_path):
    with pytest.raises(DataError, match=r"task\.data_dir.*P-tuning-v2"):
        tagging(tmp_path / "none").examples("train")
    (tmp_path / "train.txt").write_bytes(b"a O\n\xff O\n")
    with pytest.raises(DataError, match=r"train\.txt:2 is not UTF-8"):
        tagging(tmp_path).examples("train")
    write(tmp_path, TEXT)
    with pytest.raises(DataError, match=r"has 2 rows, .* has 922.*check_rows=false"):
        tagging(tmp_path, rows={"train": 922}).examples("train")
    options = {"token_column": 2}
    with pytest.raises(DataError, match=r"train\.txt:3.*token_column"):
        tagging(tmp_path, options=options).examples("train")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "pair"}, r"task\.format is 'pair'"),
        ({"labels": ["B-Loc"]}, "O among them"),
        ({"labels": ["O", "O"]}, "once"),
        ({"options": {"seperator": " "}}, "seperator"),
        ({"options": {"separator": ""}}, "separator is ''"),
        ({"options": {"tag_column": "last"}}, "columns are"),
        ({"source": "hub"}, r"task\.hub_id"),
    ],
)
def test_a_config_that_cannot_work_is_refused(tmp_path, changes, reason):
    with pytest.raises(ConfigError, match=reason):
        tagging(tmp_path, **changes)


# Hub -----------------------------------------------------------------------------------------------------------------


def test_spans_to_bio():
    spans = [{"start": 3, "end": 4, "type": "Loc"}, {"start": 0, "end": 2, "type": "Peop"}]
    assert bio_tags(5, spans, "r") == ["B-Peop", "I-Peop", "O", "B-Loc", "O"]
    touching = [{"start": 0, "end": 1, "type": "Loc"}, {"start": 1, "end": 3, "type": "Loc"}]
    assert bio_tags(3, touching, "r") == ["B-Loc", "B-Loc", "I-Loc"]
    assert bio_tags(2, [], "r") == ["O", "O"]


@pytest.mark.parametrize(
    "entities",
    [
        [{"start": 1, "end": 1, "type": "Loc"}],  # what an inclusive end would look like
        [{"start": 0, "end": 3, "type": "Loc"}],
        [{"start": -1, "end": 1, "type": "Loc"}],
        [{"start": 0, "end": 2, "type": "Loc"}, {"start": 1, "end": 2, "type": "Loc"}],
        [{"start": 0, "type": "Loc"}],
        ["Loc"],
        [None],
        "Loc",
        None,
        [{"start": float("inf"), "end": 1, "type": "Loc"}],
    ],
)
def test_bad_spans(entities):
    with pytest.raises(DataError, match="row 1"):
        bio_tags(2, entities, "row 1")


def test_hub_tags_follow_the_hubs_own_order():
    row = {"tokens": ["Rome", "is"], "tags": [0, 1]}
    assert hub_sentence(row, "r", LABELS, ["B-Loc", "O"]) == (["Rome", "is"], ["B-Loc", "O"])
    assert hub_sentence({**row, "tags": ["O", "B-Loc"]}, "r", LABELS, []) == (["Rome", "is"], ["O", "B-Loc"])
    for bad in ([0], [0, 2], [0, -1], [0, "B-Org"], [0, None], None):
        with pytest.raises(DataError, match="row 4"):
            hub_sentence({**row, "tags": bad}, "row 4", LABELS, ["B-Loc", "O"])
    for bad in ([], None, "Rome is", ["Rome", 3]):
        with pytest.raises(DataError, match="row 4"):
            hub_sentence({**row, "tokens": bad}, "row 4", LABELS, ["B-Loc", "O"])


def test_the_hub_gives_the_same_examples_as_the_file(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = [
        {"tokens": ["Ann", "Lee", "left"], "entities": [{"start": 0, "end": 2, "type": "Peop"}]},
        {"tokens": ["Paris"], "entities": [{"start": 0, "end": 1, "type": "Loc"}]},
    ]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(rows))
    write(tmp_path, TEXT)
    hub, local = tagging("", source="hub", hub_id="o/n"), tagging(tmp_path)
    assert hub.examples("train") == local.examples("train")
    assert hub.fingerprint() == local.fingerprint()


# Fuzz ----------------------------------------------------------------------------------------------------------------


@UNHURRIED
@given(text=st.text("aO \n\tB-Loc", max_size=60))
def test_no_text_raises_anything_but_data_error(text):
    lines = [(f"f:{number}", line) for number, line in enumerate(text.split("\n"), 1)]
    try:
        sentences = read_sentences(lines, LABELS, " ")
    except DataError as error:
        assert str(error).startswith("f:")
    else:
        assert all(words and len(words) == len(tags) and set(tags) <= set(LABELS) for words, tags in sentences)


SENTENCES = st.lists(
    st.lists(st.tuples(st.text("ab-é\u2028", min_size=1, max_size=4), st.sampled_from(LABELS)), min_size=1), min_size=1
)


@UNHURRIED
@given(sentences=SENTENCES.filter(lambda found: all(word.strip() for words in found for word, _ in words)))
def test_what_is_written_is_read(sentences):
    text = "\n\n".join("\n".join(f"{word} {tag}" for word, tag in sentence) for sentence in sentences)
    lines = [("f", line) for line in text.split("\n")]
    assert read_sentences(lines, LABELS, " ") == [tuple(map(list, zip(*words, strict=True))) for words in sentences]


SPANS = st.lists(
    st.fixed_dictionaries({"start": st.integers(-1, 5), "end": st.integers(-1, 5), "type": st.just("Loc")}), max_size=3
)


@UNHURRIED
@given(length=st.integers(1, 5), entities=SPANS)
def test_spans_come_back_or_are_refused(length, entities):
    try:
        tags = bio_tags(length, entities, "row 2")
    except DataError as error:
        assert "row 2" in str(error)
    else:
        assert len(tags) == length
        assert {i for i, tag in enumerate(tags) if tag == "B-Loc"} == {entity["start"] for entity in entities}
        inside = sum(entity["end"] - entity["start"] for entity in entities)
        assert sum(tag != "O" for tag in tags) == inside


# Schemes, ends of files, labels from the training file ----------------------------------------------------------------


def test_iob1_is_read_as_it_stands_or_rewritten(tmp_path):
    write(tmp_path, "Ann I-Peop\nLee I-Peop\nPeter B-Peop\nParis I-Loc\n\nRome B-Loc\n\n")
    assert tagging(tmp_path).examples("train")[0].references == (["I-Peop", "I-Peop", "B-Peop", "I-Loc"],)
    task = tagging(tmp_path, options={"scheme": "IOB2"})
    first, second = task.examples("train")
    assert first.references == (["B-Peop", "I-Peop", "B-Peop", "B-Loc"],) and second.references == (["B-Loc"],)
    assert task.deviations == ("train: 1 sentences rewritten to IOB2 (task.options.scheme).",)
    with pytest.raises(ConfigError, match=r"task\.options\.scheme is 'IOB1'"):
        tagging(tmp_path, options={"scheme": "IOB1"})


@UNHURRIED
@given(st.lists(st.sampled_from(LABELS), max_size=9))
def test_rewriting_keeps_the_spans_and_makes_them_strict(tags):
    rewritten = to_iob2(tags)
    assert spans(rewritten) == spans(tags) == strict_spans(rewritten)
    assert iob2(rewritten) and iob2(tags) == (rewritten == tags)


def test_the_official_loaders_end_can_be_had(tmp_path):
    write(tmp_path, TEXT + "Rome B-Loc\n")
    task = tagging(tmp_path, options={"drop_unclosed": True})
    assert [example.fields["words"][0] for example in task.examples("train")] == ["Ann", "Paris"]
    said = "train: the last sentence, after which no blank line stands, is left out, as by the official loader."
    assert task.deviations == (said,)
    write(tmp_path, TEXT)
    task = tagging(tmp_path, options={"drop_unclosed": True})
    assert len(task.examples("train")) == 2 and task.deviations == ()


def test_labels_from_the_training_file(tmp_path):
    write(tmp_path, TEXT)
    write(tmp_path, "Lee I-Peop\nHarz B-Hill\n\n", "dev.txt")
    task = tagging(tmp_path, labels=[], options={"labels_from": "train"})
    assert task.labels == ("O", "B-Loc", "B-Peop", "I-Peop")
    example = task.examples("validation")[0]
    assert task.render(example) == Tagged(("Lee", "Harz"), (3, None))
    assert task.parse([0, 3], example) == ["O", "I-Peop"]
    rewritten = tagging(tmp_path, labels=[], options={"labels_from": "train", "scheme": "IOB2"})
    assert rewritten.examples("validation")[0].references == (["B-Peop", "B-Hill"],)


def test_a_hub_order_of_another_data_set_is_noticed(monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = [{"tokens": ["Ann", "Lee", "left"], "ner": [1, 2, 0]}]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(rows))
    options = {"hub_column": "ner", "hub_iob2": True}

    def from_hub(tags):
        return tagging("", source="hub", hub_id="o/n", options={**options, "hub_tags": tags})

    right = ["O", "B-Peop", "I-Peop", "B-Loc", "I-Loc"]
    assert from_hub(right).examples("train")[0].references == (["B-Peop", "I-Peop", "O"],)
    with pytest.raises(DataError, match=r"row 1: .*is not IOB2.*task\.options\.hub_tags"):
        from_hub(["O", "B-Peop", "B-Loc", "I-Peop", "I-Loc"][::-1]).examples("train")
    with pytest.raises(DataError, match=r"tags in 'tags'.*task\.options\.hub_column"):
        tagging("", source="hub", hub_id="o/n").examples("train")


@UNHURRIED
@given(st.binary(max_size=60) | st.text("aO \n\tB-Loc\r\u2028\ufeff", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_with_their_place(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "train.txt").write_bytes(data)
    for arguments in ({}, {"labels": [], "options": {"labels_from": "train", "scheme": "IOB2"}}):
        task = tagging(folder, **arguments)
        try:
            examples = task.examples("train")
        except DataError as error:
            assert "train.txt" in str(error)
            continue
        assert all(len(task.render(example).tags) == len(example.fields["words"]) > 0 for example in examples)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("EU NNP B-NP B-ORG\nNew York NNP B-NP B-LOC\n", r":2 is .*it has 5 columns, the first line has 4"),
        ("EU NNP B-NP B-ORG\nrejects VBZ B-VP\n", r":2 is .*it has 3 columns, the first line has 4"),
        ("EU B-ORG\rrejects O\rGerman B-MISC\r", r":1 holds a carriage return"),
    ],
)
def test_a_line_of_other_columns_is_no_data(tmp_path, text, said):
    """A chunk tag became an entity tag, and a file with the line ends of an old Mac one word."""
    (tmp_path / "train.txt").write_bytes(text.encode())
    with pytest.raises(DataError, match=said):
        tagging(tmp_path, labels=[], options={"labels_from": "train"}).examples("train")


def test_tags_without_a_type(tmp_path):
    (tmp_path / "train.txt").write_text("Ann B\nLee I\nran O\n\n")
    task = tagging(tmp_path, labels=[], options={"labels_from": "train"})
    assert task.examples("train")[0].references == (["B", "I", "O"],) and task.labels == ("O", "B", "I")


def test_comment_lines_are_left_out(tmp_path):
    (tmp_path / "train.txt").write_text("# sent_id = 1\nAnn\tB-PER\n# text = x\nran\tO\n\n# sent_id = 2\n#\tO\n\n")
    options = {"labels_from": "train", "separator": "\t", "comments": "# "}
    examples = tagging(tmp_path, labels=[], options=options).examples("train")
    assert [example.fields["words"] for example in examples] == [("Ann", "ran"), ("#",)]
