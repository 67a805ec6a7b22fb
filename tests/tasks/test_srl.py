"""P-Tuning v2's proposition lines, of our own making: reading, what the model reads behind the words, faults."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import Tagged
from repro.tasks.semantic_roles import SemanticRoles, read_propositions
from tests.tasks.making import make

UNHURRIED = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=80)

LABELS = ["O", "B-A0", "B-A1", "B-V", "I-A0", "I-A1"]
TEXT = "2 The cat sat ||| B-A0 I-A0 B-V\n\n0 Go there ||| B-V B-A1\n"


def roles(folder, **changes):
    arguments = {"format": "tagging", "labels": LABELS, "metrics": [], **changes}
    return make(SemanticRoles, name="toy", data_dir=str(folder), **arguments)


def write(folder: Path, text: str, name: str = "train.txt") -> None:
    (folder / name).write_text(text, encoding="utf-8", newline="")


def test_a_line_is_a_proposition(tmp_path):
    write(tmp_path, TEXT)
    task = roles(tmp_path)
    first, second = task.examples("train")
    assert first.fields == {"words": ("The", "cat", "sat"), "predicate": 2}
    assert first.references == (["B-A0", "I-A0", "B-V"],)
    assert first.cluster == "The cat sat"
    assert task.render(first) == Tagged(("The", "cat", "sat"), (1, 4, 3), behind=("[SEP]", "sat"))
    assert task.render(second) == Tagged(("Go", "there"), (3, 2), behind=("[SEP]", "Go"))
    assert task.parse([1, 4, 3], first) == ["B-A0", "I-A0", "B-V"]
    assert task.fingerprint()["train"]["rows"] == 2 and task.deviations == ()


def test_what_the_official_reader_reads(tmp_path):
    """`line.split()`, index first, the rest joined and cut at the bar, both sides split: the same words and tags."""
    lines = ["3  He \t said , bye  |||  B-A0 B-A1 O B-V ", "0 a|||B-V"]
    found = read_propositions([(f"f:{i}", line) for i, line in enumerate(lines, 1)], LABELS)
    for line, (words, predicate, tags) in zip(lines, found, strict=True):
        text = " ".join(line.split()[1:]).strip()
        assert words == text.split("|||")[0].split() and tags == text.split("|||")[1].split()
        assert predicate == int(line.split()[0])


def test_labels_come_from_the_training_file_in_an_order_of_their_own(tmp_path):
    write(tmp_path, "0 Go there ||| B-V B-A1\n2 The cat sat ||| B-A0 I-A0 B-V\n")
    write(tmp_path, "0 Go now then ||| B-V B-TMP I-TMP\n", "dev.txt")
    task = roles(tmp_path, labels=[], options={"labels_from": "train"})
    example = task.examples("validation")[0]  # asked for first: the training file is read for it
    assert task.labels == ("O", "B-A0", "B-A1", "B-V", "I-A0")
    assert task.render(example).tags == (3, None, None)
    assert example.references == (["B-V", "B-TMP", "I-TMP"],)
    (said,) = task.deviations
    assert said == ("validation: 2 words have tags that the training file lacks (B-TMP, I-TMP): scored, always missed.")
    write(tmp_path, "2 The cat sat ||| B-A0 I-A0 B-V\n0 Go there ||| B-V B-A1\n")
    assert roles(tmp_path, labels=[], options={"labels_from": "train"}).labels == task.labels


def test_labels_of_a_limited_training_set_are_those_of_the_whole_file(tmp_path):
    write(tmp_path, TEXT)
    task = roles(tmp_path, labels=[], options={"labels_from": "train"}, limit={"train": 1})
    assert len(task.examples("train")) == 1 and task.labels == ("O", "B-A0", "B-A1", "B-V", "I-A0")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("x a ||| O", r":1 names 'x' as the predicate.*below 1"),
        ("-1 a ||| O", "names '-1'"),
        ("1 a ||| O", "names '1' as the predicate"),
        ("\u0663 a b c d ||| O O O O", "as the predicate"),  # an Arabic three
        ("99999999999999999999 a ||| O", "as the predicate"),
        ("0 a b ||| O", r":1 has 2 words and 1 tags"),
        ("0 a O", r"has 0 times '\|\|\|'"),
        ("0 a ||| O ||| O", r"has 2 times"),
        ("||| O", r"names '' as the predicate"),
        ("0 a ||| B-A9", r"the tag 'B-A9' is not one of .*task\.labels"),
    ],
)
def test_faults_name_the_line(tmp_path, line, fault):
    write(tmp_path, line + "\n")
    with pytest.raises(DataError, match=fault) as found:
        roles(tmp_path).examples("train")
    assert "train.txt:1" in str(found.value)


def test_a_tag_must_be_one_where_no_labels_are_listed(tmp_path):
    write(tmp_path, "0 a b ||| B-V A1\n")
    with pytest.raises(DataError, match=r"train\.txt:1: 'A1' is no tag"):
        roles(tmp_path, labels=[], options={"labels_from": "train"}).examples("train")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"labels": []}, r"task\.labels=\[\] task\.options\.labels_from=train"),
        ({"options": {"labels_from": "train"}}, "give one of the two"),
        ({"labels": [], "options": {"labels_from": "test"}}, r"task\.options\.labels_from"),
        ({"options": {"separator": " "}}, "separator"),
        ({"source": "hub", "hub_id": "o/n"}, r"task\.source"),
        ({"labels": ["B-V"]}, "O among them"),
    ],
)
def test_a_config_that_cannot_work_is_refused(tmp_path, changes, fault):
    with pytest.raises(ConfigError, match=fault):
        roles(tmp_path, **changes)


def test_an_unlabelled_input_needs_a_predicate_among_its_words(tmp_path):
    task = roles(tmp_path)
    assert task.inputs == ("words", "predicate")
    assert task.blank({"words": ("a", "b"), "predicate": 1}) == (["O", "O"],)
    with pytest.raises(DataError, match="predicate"):
        task.blank({"words": ("a", "b"), "predicate": 2})


# Fuzz ----------------------------------------------------------------------------------------------------------------


@UNHURRIED
@given(st.binary(max_size=80) | st.text("01 a|\tOBV-\n\r\u2028\ufeff", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_with_their_place(tmp_path, data):
    (tmp_path / "train.txt").write_bytes(data)
    for arguments in ({}, {"labels": [], "options": {"labels_from": "train"}}):
        task = roles(tmp_path, **arguments)
        try:
            examples = task.examples("train")
        except DataError as error:
            assert "train.txt" in str(error)
            continue
        for example in examples:
            shown = task.render(example)
            assert len(shown.words) == len(shown.tags) and shown.behind[1] in shown.words


words = st.text("ab,.\u00e9|", min_size=1, max_size=4).filter(lambda word: "|||" not in word)


@UNHURRIED
@given(st.lists(st.lists(st.tuples(words, st.sampled_from(LABELS)), min_size=1, max_size=5), min_size=1, max_size=4))
def test_what_is_written_is_read(sentences):
    lines = [
        (f"f:{i}", f"{i % len(s)} {' '.join(w for w, _ in s)} ||| {' '.join(t for _, t in s)}")
        for i, s in enumerate(sentences)
    ]
    found = read_propositions(lines, LABELS)
    assert found == [([w for w, _ in s], i % len(s), [t for _, t in s]) for i, s in enumerate(sentences)]
