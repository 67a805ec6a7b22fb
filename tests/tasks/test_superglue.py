"""SuperGLUE rows of our own making, in the official format, as each paper shows them to a model."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import Choice, Pair, TextToText
from repro.tasks.copa import Copa
from repro.tasks.sentence_pair import SentencePair
from tests.tasks.making import make

# The machine may be busy: no deadline.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)

NLI = {"text_fields": ["hypothesis", "premise"], "templates": [["{premise}", "{hypothesis}"]]}
NLI_ROW = {"premise": "Ann ran home.", "hypothesis": "Ann ran", "label": "not_entailment", "idx": 7}
BOOLQ = {
    "text_fields": ["passage", "question"],
    "templates": [["{question}", "{passage}"]],
    "label_type": "boolean",
    "cluster": "passage",
}
BOOLQ_ROW = {"question": "is tin a metal", "passage": "Tin -- Tin is {a} metal.", "idx": 0, "label": True}
WIC = {
    "text_fields": ["sentence1", "sentence2", "word"],
    "templates": [
        ["{sentence1} {sentence2} Does {word} have the same meaning in both sentences?"],
        ["{word}: {sentence1}", "{word}: {sentence2}"],
    ],
    "template_id": 0,
    "label_type": "boolean",
}
WIC_ROW = {"word": "bank", "sentence1": "A bank note.", "sentence2": "The river bank.", "idx": 0, "label": False}
WIC_ROW |= {"start1": 2, "end1": 6, "start2": 10, "end2": 14, "version": 1.1}
COPA_ROW = {"premise": "He fell.", "choice1": "He slipped.", "choice2": "He sang.", "question": "cause", "label": 0}


def write(folder: Path, name: str, *rows) -> None:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def nli(folder, format="text_to_text", **changes):
    changes = {"labels": ["entailment", "not_entailment"], "options": NLI, **changes}
    return make(SentencePair, name="rte", format=format, data_dir=str(folder), metrics=[], **changes)


def boolean(folder, options, format):
    return make(
        SentencePair,
        name="b",
        format=format,
        data_dir=str(folder),
        metrics=[],
        labels=["False", "True"],
        options=options,
    )


def copa(folder, format, **changes):
    labels = changes.pop("labels", ["choice1", "choice2"])
    return make(Copa, name="copa", format=format, data_dir=str(folder), metrics=[], labels=labels, **changes)


def only(task, split="train"):
    (example,) = task.examples(split)
    return example


def test_rte_as_lester_shows_it(tmp_path):
    write(tmp_path, "train.jsonl", NLI_ROW)
    task = nli(tmp_path)
    example = only(task)
    assert task.render(example) == TextToText("hypothesis: Ann ran premise: Ann ran home.", "not_entailment")
    assert example.id == "train-0" and example.references == (1,) and example.meta["idx"] == 7
    assert dict(example.fields) == {"hypothesis": "Ann ran", "premise": "Ann ran home."}


def test_rte_as_p_tuning_v2_shows_it(tmp_path):
    write(tmp_path, "val.jsonl", NLI_ROW)
    task = nli(tmp_path, "pair")
    assert task.render(only(task, "validation")) == Pair("Ann ran home.", "Ann ran", 1)


def test_cb_has_three_classes_in_config_order(tmp_path):
    labels = ["entailment", "contradiction", "neutral"]
    write(tmp_path, "train.jsonl", *({**NLI_ROW, "label": label} for label in reversed(labels)))
    task = nli(tmp_path, "pair", labels=labels)
    assert task.labels == tuple(labels)
    assert [task.render(example).label for example in task.examples("train")] == [2, 1, 0]


def test_boolq(tmp_path):
    write(tmp_path, "train.jsonl", BOOLQ_ROW)
    task = boolean(tmp_path, BOOLQ, "text_to_text")
    text = "passage: Tin -- Tin is {a} metal. question: is tin a metal"
    assert task.render(only(task)) == TextToText(text, "True")
    assert only(task).cluster == BOOLQ_ROW["passage"]
    task = boolean(tmp_path, BOOLQ, "pair")
    assert task.render(only(task)) == Pair("is tin a metal", "Tin -- Tin is {a} metal.", 1)


def test_wic(tmp_path):
    write(tmp_path, "train.jsonl", WIC_ROW)
    task = boolean(tmp_path, WIC, "text_to_text")
    text = "sentence1: A bank note. sentence2: The river bank. word: bank"
    assert task.render(only(task)) == TextToText(text, "False")
    task = boolean(tmp_path, WIC, "pair")
    text = "A bank note. The river bank. Does bank have the same meaning in both sentences?"
    assert task.render(only(task)) == Pair(text, None, 0)
    task = boolean(tmp_path, {**WIC, "template_id": 1}, "pair")
    assert task.render(only(task)) == Pair("bank: A bank note.", "bank: The river bank.", 0)


@pytest.mark.parametrize(("question", "joiner"), [("cause", "because"), ("effect", "so")])
def test_copa(tmp_path, question, joiner):
    write(tmp_path, "train.jsonl", {**COPA_ROW, "question": question, "label": 1})
    task = copa(tmp_path, "text_to_text")
    text = f"choice1: He slipped. choice2: He sang. premise: He fell. question: {question}"
    assert task.render(only(task)) == TextToText(text, "choice2")
    task = copa(tmp_path, "choice")
    first = f"He fell. {joiner}"
    assert task.render(only(task)) == Choice(((first, "He slipped."), (first, "He sang.")), 1)


def test_parse_takes_the_exact_label_and_nothing_else(tmp_path):
    write(tmp_path, "train.jsonl", NLI_ROW)
    task = nli(tmp_path)
    example = only(task)
    outputs = ["entailment", "not_entailment", " entailment", "Entailment", "entailment.", ""]
    assert [task.parse(output, example) for output in outputs] == [0, 1, -1, -1, -1, -1]
    assert nli(tmp_path, "pair").parse(1, example) == 1
    write(tmp_path, "train.jsonl", COPA_ROW)
    assert [copa(tmp_path, "text_to_text").parse(text, example) for text in ("choice2", "choice")] == [1, -1]
    assert copa(tmp_path, "choice").parse(0, example) == 0


def test_the_test_split_has_no_labels(tmp_path):
    write(tmp_path, "test.jsonl", {key: value for key, value in NLI_ROW.items() if key != "label"})
    text, pair = nli(tmp_path), nli(tmp_path, "pair")
    assert only(text, "test").references == ()
    assert text.render(only(text, "test")).target == ""
    assert pair.render(only(pair, "test")).label == -1


def test_hub_rows_give_the_same_examples(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "premise": datasets.Value("string"),
            "hypothesis": datasets.Value("string"),
            "idx": datasets.Value("int32"),
            "label": datasets.ClassLabel(names=["entailment", "not_entailment"]),
        }
    )
    rows = [{**NLI_ROW, "label": 1}]
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_, split, **__: datasets.Dataset.from_list(rows, features=features)
    )
    write(tmp_path, "train.jsonl", NLI_ROW)
    hub, local = nli("", source="hub", hub_id="o/n"), nli(tmp_path)
    assert hub.examples("train") == local.examples("train")
    assert hub.fingerprint() == local.fingerprint()
    rows[0]["label"] = -1
    assert only(hub, "test").references == ()
    with pytest.raises(DataError, match="row 1: the label is None"):
        hub.examples("validation")


def test_hub_ids_without_names_are_taken_in_config_order(monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = [{**COPA_ROW, "label": 1}, {**COPA_ROW, "label": -1}]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(rows))
    task = copa("", "choice", source="hub", hub_id="o/n")
    assert [example.references for example in task.examples("test")] == [(1,), ()]
    with pytest.raises(DataError, match="row 2: the label is -1: allowed is choice1, choice2"):
        task.examples("train")


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("neutral", "the label is 'neutral': allowed is entailment, not_entailment"),
        (0, "the label is 0: allowed is entailment, not_entailment"),
        (None, "the label is None"),
    ],
)
def test_a_label_outside_the_set(tmp_path, label, reason):
    write(tmp_path, "train.jsonl", NLI_ROW, {**NLI_ROW, "label": label})
    with pytest.raises(DataError, match=rf"train\.jsonl:2: {reason}"):
        nli(tmp_path).examples("train")


@pytest.mark.parametrize(
    ("task", "row", "allowed"),
    [
        (lambda folder: boolean(folder, BOOLQ, "pair"), {**BOOLQ_ROW, "label": 1}, "true, false"),
        (lambda folder: boolean(folder, BOOLQ, "pair"), {**BOOLQ_ROW, "label": "True"}, "true, false"),
        (lambda folder: boolean(folder, {**BOOLQ, "label_type": "index"}, "pair"), BOOLQ_ROW, "a class id from 0 to 1"),
        (lambda folder: copa(folder, "choice"), {**COPA_ROW, "label": True}, "a class id from 0 to 1"),
        (lambda folder: copa(folder, "choice"), {**COPA_ROW, "label": 2}, "a class id from 0 to 1"),
        (lambda folder: copa(folder, "choice"), {**COPA_ROW, "label": -1}, "a class id from 0 to 1"),
        (lambda folder: copa(folder, "choice"), {**COPA_ROW, "question": "why"}, r"\['cause', 'effect'\]"),
    ],
)
def test_a_value_of_the_wrong_kind(tmp_path, task, row, allowed):
    write(tmp_path, "train.jsonl", row)
    with pytest.raises(DataError, match=rf"train\.jsonl:1: .*{allowed}"):
        task(tmp_path).examples("train")


def test_a_missing_field_is_named(tmp_path):
    for field in ("premise", "label"):
        write(tmp_path, "train.jsonl", NLI_ROW, {key: value for key, value in NLI_ROW.items() if key != field})
        with pytest.raises(DataError, match=rf"train\.jsonl:2 lacks the field '{field}'"):
            nli(tmp_path).examples("train")


def test_missing_folder_malformed_line_and_wrong_size(tmp_path):
    with pytest.raises(DataError, match=r"task\.data_dir.*super\.gluebenchmark\.com"):
        nli(tmp_path / "none").examples("train")
    write(tmp_path, "train.jsonl", NLI_ROW, NLI_ROW, '{"premise": "cut')
    with pytest.raises(DataError, match=r"train\.jsonl:3 is not JSON"):
        nli(tmp_path).examples("train")
    write(tmp_path, "train.jsonl", NLI_ROW, NLI_ROW)
    with pytest.raises(DataError, match=r"has 2 rows, .* has 2490.*check_rows=false"):
        nli(tmp_path, rows={"train": 2490}).examples("train")
    assert len(nli(tmp_path, rows={"train": 2490}, check_rows=False).examples("train")) == 2


def test_limit_keeps_file_order(tmp_path):
    write(tmp_path, "train.jsonl", *({**NLI_ROW, "idx": idx} for idx in range(40)))
    kept = [example.meta["idx"] for example in nli(tmp_path, limit={"train": 10, "seed": 3}).examples("train")]
    assert len(kept) == 10 and kept == sorted(kept) and kept != list(range(10))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "choice"}, r"task\.format is 'choice'.*text_to_text.*pair"),
        ({"format": "auto"}, r"task\.format is 'auto'"),
        ({"source": "disk"}, r"task\.source"),
        ({"labels": ["one"]}, "at least two classes"),
        ({"labels": ["a", "a"]}, "each once"),
        ({"options": {**NLI, "tempalte_id": 1}}, "tempalte_id"),
        ({"options": {}}, "missing: text_fields"),
        ({"format": "pair", "options": {**NLI, "template_id": 1}}, r"template_id is 1.*\[0\]"),
        ({"format": "pair", "options": {**NLI, "templates": [["{premise}", "{claim}"]]}}, r"\{claim\}.*hypothesis"),
        ({"format": "pair", "options": {**NLI, "templates": [["{premise}", "{"]]}}, "segment '{'"),
        ({"format": "pair", "options": {**NLI, "templates": [[]]}}, r"segments.*\[1, 2\]"),
        ({"options": {**NLI, "label_type": "word"}}, "label_type is 'word'"),
        ({"options": {**NLI, "cluster": "passage"}}, "cluster is 'passage'"),
        ({"limit": {"train": 0}}, r"task\.limit\.train"),
    ],
)
def test_a_config_that_cannot_work_is_refused_before_reading(tmp_path, changes, reason):
    with pytest.raises(ConfigError, match=reason):
        nli(tmp_path / "none", **changes)


def test_copa_refuses_other_forms_and_labels(tmp_path):
    with pytest.raises(ConfigError, match=r"text_to_text.*choice"):
        copa(tmp_path, "pair")
    with pytest.raises(ConfigError, match=r"task\.labels"):
        copa(tmp_path, "choice", labels=["choice2", "choice1"])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.text("aé{\ud800", max_size=5)
    | st.sampled_from(["entailment", "cause"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from(["premise", "hypothesis", "label", "idx", "choice1", "choice2", "question"])


@UNHURRIED
@given(row=st.dictionaries(NAMES, VALUES))
def test_no_row_raises_anything_but_data_error(tmp_path_factory, row):
    folder = tmp_path_factory.getbasetemp()
    write(folder, "train.jsonl", row)
    write(folder, "test.jsonl", row)
    for task in (nli(folder), copa(folder, "choice")):
        for split in ("train", "test"):
            try:
                examples = task.examples(split)
            except DataError as error:
                assert f"{split}.jsonl:1" in str(error)
            else:
                assert len(examples) == 1 and task.render(examples[0])
