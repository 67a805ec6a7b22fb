"""SQuAD's and MRQA's formats, as questions with places and as padded text; made-up rows, and real ones if present."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import Span, SpanAnswer, TextToText
from repro.tasks.question_answering import STAND_IN, QuestionAnswering, padded
from tests.tasks.making import make

DATA = Path(os.environ.get("REPRO_DATA_ROOT") or Path(__file__).resolve().parents[3] / "shared" / "data")
UNHURRIED = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)

CONTEXT = "Ann Lee (born 1960) ran home. The U.S. team won."
ANSWERS = [{"text": "1960", "answer_start": 14}, {"text": "born 1960", "answer_start": 9}]


def squad_json(*questions, context=CONTEXT):
    return json.dumps(
        {"version": "1", "data": [{"title": "T", "paragraphs": [{"context": context, "qas": questions}]}]}
    )


def question(number=0, answers=ANSWERS, text="  When was Ann born?", **more):
    return {"id": f"q{number}", "question": text, "answers": answers, **more}


def made(folder, format="span", *, options=None, **changes):
    return make(
        QuestionAnswering, name="toy", format=format, data_dir=str(folder), metrics=[], options=options, **changes
    )


def write(folder, text, name="train.json"):
    data = text.encode("utf-8")
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


# Reading and rendering -----------------------------------------------------------------------------------------------


def test_a_question_as_a_span(tmp_path):
    write(tmp_path, squad_json(question(), question(1, ANSWERS[1:])))
    first, second = made(tmp_path).examples("train")
    assert (first.id, first.references, first.cluster) == ("q0", ("1960", "born 1960"), CONTEXT)
    task = made(tmp_path)
    assert task.render(first) == Span("When was Ann born?", CONTEXT, (14, 18))  # left-stripped, first answer only
    assert task.render(second) == Span("When was Ann born?", CONTEXT, (9, 18))
    assert task.parse(SpanAnswer((0, 7), -2.0), first) == "Ann Lee"
    assert task.parse(SpanAnswer((0, 7), 2.0), first) == "Ann Lee"  # 1.1 has no threshold
    assert task.parse(SpanAnswer(None, 2.0), first) == STAND_IN


def test_a_question_as_text(tmp_path):
    answers = [{"text": "U.S.", "answer_start": 34}, *ANSWERS]
    write(tmp_path, squad_json(question(answers=answers)))
    task = made(tmp_path, "text_to_text")
    (example,) = task.examples("train")
    assert task.render(example) == TextToText(
        "question: When was Ann born ? context: Ann Lee ( born 1960 ) ran home . The U . S . team won . ", "U . S . "
    )
    assert example.references == ("U . S . ", "1960", "born 1960")
    assert task.parse(" 1960 ", example) == "1960"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a,b", "a , b"),
        ("(x)", " ( x ) "),
        ("a  \t\nb", "a b"),
        ("$5.00", " $ 5 . 00"),
        ("well-known_x", "well - known _ x"),
        ("caf\u00e9\u2013bar\u00a0x", "caf\u00e9\u2013bar\u00a0x"),  # marks and spaces of ASCII only
        ("", ""),
    ],
)
def test_padding_of_punctuation(text, wanted):
    assert padded(text) == wanted


@UNHURRIED
@given(st.text(st.characters(max_codepoint=300), max_size=20))
def test_padding_written_out(text):
    spaced = "".join(f" {c} " if c in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" else c for c in text)
    assert padded(text) == re.sub("[ \t\n\f\r]+", " ", spaced)


def test_questions_without_an_answer(tmp_path):
    write(tmp_path, squad_json(question(), question(1, [], is_impossible=True, plausible_answers=ANSWERS)))
    task = made(tmp_path, options={"unanswerable": True})
    known, unknown = task.examples("train")
    assert unknown.references == ("",) and task.render(unknown).answer is None
    piece = {"text": "Ann", "answer": "Ann", "null_odds": 0.0}
    assert task.parse(SpanAnswer((0, 3), 0.0), known) == piece  # at the threshold itself the piece stands
    assert task.parse(SpanAnswer((0, 3), 0.1), known) == piece | {"text": "", "null_odds": 0.1}
    bold = made(tmp_path, options={"unanswerable": True, "null_threshold": 1.5})
    assert bold.parse(SpanAnswer((0, 3), 1.0), known)["text"] == "Ann"
    text = made(tmp_path, "text_to_text", options={"unanswerable": True})
    assert text.render(text.examples("train")[1]).target == "unanswerable"
    assert text.parse(" unanswerable", known) == "" and text.parse("Ann", known) == "Ann"
    assert text.deviations == ("no paper has SQuAD 2.0 as text: the target of a question without an answer is "
                               "'unanswerable'.",)  # fmt: skip


def test_a_test_split_without_public_answers(tmp_path):
    entry = question()
    del entry["answers"]
    write(tmp_path, squad_json(entry), "test.json")
    (example,) = made(tmp_path, options={"unanswerable": True}).examples("test")
    assert example.references == () and made(tmp_path).render(example).answer is None


def mrqa(*qas, context=CONTEXT, header=True):
    lines = [{"header": {"dataset": "D", "split": "dev"}}] if header else []
    return "".join(json.dumps(line) + "\n" for line in [*lines, {"context": context, "qas": list(qas)}])


def mrqa_question(number=0, **changes):
    detected = [{"text": "1960", "char_spans": [[14, 17]], "token_spans": [[4, 4]]}]
    base = {"qid": f"q{number}", "question": "  When was Ann born?", "answers": ["1960", "born 1960"]}
    return base | {"detected_answers": detected} | changes


@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz"])
def test_mrqa_reads_as_the_same_question(tmp_path, name):
    write(tmp_path, squad_json(question()))
    write(tmp_path, mrqa(mrqa_question()), name)
    squad, other = made(tmp_path), made(tmp_path, options={"files": {"train": name}})
    assert other.examples("train") == squad.examples("train")
    assert other.fingerprint() == squad.fingerprint() and squad.fingerprint()["train"]["rows"] == 1


def test_mrqa_as_a_test_set_needs_no_places(tmp_path):
    write(tmp_path, mrqa(mrqa_question(detected_answers=[]), mrqa_question(1)), "test.jsonl.gz")
    task = made(tmp_path, "text_to_text", options={"files": {"test": "test.jsonl.gz"}})
    first, second = task.examples("test")
    assert first.references == second.references == ("1960", "born 1960")


def test_the_hub_gives_the_same_examples(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    write(tmp_path, squad_json(question(), question(1, [])))
    none = {"text": [], "answer_start": []}
    two = {"text": ["1960", "born 1960"], "answer_start": [14, 9]}
    rows = [question(0, two, title="T", context=CONTEXT), question(1, none, title="T", context=CONTEXT)]
    texts, numbers = datasets.List(datasets.Value("string")), datasets.List(datasets.Value("int32"))
    features = {name: datasets.Value("string") for name in ("id", "question", "title", "context")}
    features |= {"answers": {"text": texts, "answer_start": numbers}}
    table = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: table)
    options = {"unanswerable": True}
    hub, local = made("", source="hub", hub_id="o/n", options=options), made(tmp_path, options=options)
    assert hub.examples("train") == local.examples("train")
    assert hub.fingerprint() == local.fingerprint()


def test_the_out_of_domain_test_set_is_a_subset_of_another_hub_set(monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = [mrqa_question(i, subset=("DROP", "RACE")[i % 2], context=CONTEXT) for i in range(5)]
    asked = []

    def load(path, name, *, revision, split):
        asked.append((path, name, revision, split))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    place = {"id": "m/q", "config": "plain_text", "revision": "main", "subset": "DROP"}
    task = made("", source="hub", hub_id="o/n", options={"hub_test": place}, rows={"test": 3})
    assert [example.id for example in task.examples("test")] == ["q0", "q2", "q4"]
    assert asked == [("m/q", "plain_text", "main", "test")]


# Faults --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not JSON"),
        ("[1]", r"'data' is None"),
        ('{"data": 3}', r"'data' is 3"),
        ('{"data": [7]}', r"data 1 is 7"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', r"data 1 paragraphs 1 lacks the field 'context'"),
        (squad_json(question(), context="  "), "the context is empty"),
        (squad_json({"question": "x", "answers": ANSWERS}), r"qas 1 lacks the field 'id'"),
        (squad_json({"id": "x", "question": 3, "answers": ANSWERS}), r"'question' is 3"),
        (squad_json(question(answers=[])), r"qas 1 has no answer.*task\.options\.unanswerable=true"),
        (squad_json(question(answers=None)), r"'answers' is None"),
        (squad_json(question(answers=[{"text": "x"}])), r"starts at None"),
        (squad_json(question(answers=[{"text": "x", "answer_start": -1}])), r"starts at -1"),
        (squad_json(question(answers=[{"text": "x", "answer_start": 48}])), r"starts at 48.*48 characters"),
        (squad_json(question(answers=[{"text": "", "answer_start": 1}])), r"has 0 characters"),
        (squad_json(question(answers=[{"text": "x", "answer_start": True}])), r"starts at True"),
        (squad_json(), "has no row"),
    ],
)
def test_faults_of_the_json_name_their_place(tmp_path, text, fault):
    write(tmp_path, text)
    with pytest.raises(DataError, match=fault) as found:
        made(tmp_path).examples("train")
    assert str(tmp_path / "train.json") in str(found.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", r":1 is not JSON"),
        (mrqa(mrqa_question(answers=[])), r":2 qas 1: 'answers' is \[\]"),
        (mrqa(mrqa_question(answers=[3])), r"'answers' is 3"),
        (mrqa(mrqa_question(qid=None)), r"'qid' is None"),
        (mrqa(mrqa_question(detected_answers=[])), r"needs char_spans"),
        (mrqa(mrqa_question(detected_answers=[{"char_spans": [[1]]}])), r"needs char_spans"),
        (mrqa(mrqa_question(detected_answers=[{"char_spans": [[40, 50]]}])), r"starts at 40"),
        (mrqa(mrqa_question(), context=""), r":2: the context is empty"),
        ('{"context": "x"}\n', r":1: 'qas' is None"),
    ],
)
def test_faults_of_mrqa_name_their_line(tmp_path, text, fault):
    write(tmp_path, text, "train.jsonl")
    with pytest.raises(DataError, match=fault):
        made(tmp_path, options={"files": {"train": "train.jsonl"}}).examples("train")


def test_a_broken_gzip_file_is_one_sentence(tmp_path):
    whole = gzip.compress(mrqa(mrqa_question()).encode())
    for data in (b"no gzip", whole[:20], whole[:-9] + b"123456789"):
        (tmp_path / "train.jsonl.gz").write_bytes(data)
        with pytest.raises(DataError, match="no whole gzip file"):
            made(tmp_path, options={"files": {"train": "train.jsonl.gz"}}).examples("train")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"stride": -1}, r"task\.options\.stride=-1"),
        ({"n_best": 0}, r"task\.options\.n_best=0"),
        ({"max_answer_tokens": 2.5}, r"task\.options\.max_answer_tokens=2\.5"),
        ({"null_threshold": "x"}, r"task\.options\.null_threshold=x"),
        ({"hub_test": {"id": "m/q"}}, r"task\.options\.hub_test"),
        ({"strides": 3}, "strides"),
    ],
)
def test_options_out_of_range(tmp_path, options, fault):
    with pytest.raises(ConfigError, match=fault):
        made(tmp_path, options=options)
    with pytest.raises(ConfigError, match=r"task\.labels"):
        made(tmp_path, labels=["a"])
    with pytest.raises(ConfigError, match=r"task\.format"):
        made(tmp_path, "pair")


def test_an_answer_that_stands_elsewhere_is_said(tmp_path):
    write(tmp_path, squad_json(question(answers=[{"text": "1961", "answer_start": 14}])))
    task = made(tmp_path, "text_to_text")
    assert len(task.examples("train")) == 1
    assert task.deviations == ("train: 1 first answers do not stand where the file says; the file's place is used.",)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 99) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "paragraphs", "context", "qas", "id", "qid", "question", "answers", "text", "answer_start"]
                + ["detected_answers", "char_spans", "header"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


def _replaced(node, draw):
    """A valid tree with some nodes replaced by anything."""
    if draw(st.integers(0, 7)) == 0:
        return draw(json_values)
    if isinstance(node, dict):
        return {key: _replaced(value, draw) for key, value in node.items()}
    return [_replaced(value, draw) for value in node] if isinstance(node, list) else node


@UNHURRIED
@given(st.data())
def test_no_input_ends_in_a_traceback(tmp_path, data):
    tree = _replaced(json.loads(squad_json(question())), data.draw)
    write(tmp_path, json.dumps(tree))
    lines = [_replaced(json.loads(line), data.draw) for line in mrqa(mrqa_question()).splitlines()]
    write(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), "train.jsonl")
    for name in ("train.json", "train.jsonl"):
        for format in ("span", "text_to_text"):
            task = made(tmp_path, format, options={"files": {"train": name}, "unanswerable": True})
            try:
                for example in task.examples("train"):
                    task.render(example)
            except DataError as error:
                assert name in str(error)


# Real data -----------------------------------------------------------------------------------------------------------


def real(format, name, **options):
    if not (DATA / "squad" / name).is_file():
        pytest.skip(f"no real data: {DATA / 'squad' / name} does not exist (set REPRO_DATA_ROOT)")
    files = {"validation": name, "test": "../squadshifts/new_wiki_v1.0.json"}
    rows = {"validation": 11873 if options.get("unanswerable") else 10570, "test": 7938}
    return made(DATA / "squad", format, options={"files": files, **options}, rows=rows)


@pytest.mark.real
def test_real_squad_in_both_forms():
    span, text = real("span", "dev-v1.1.json"), real("text_to_text", "dev-v1.1.json")
    for example, other in zip(span.examples("validation"), text.examples("validation"), strict=True):
        shown = span.render(example)
        start, end = shown.answer
        assert span.parse(SpanAnswer((start, end), 0.0), example) == example.references[0]
        assert text.render(other).target == padded(example.references[0]) == other.references[0]
    assert len(span.examples("validation")) == 10570
    assert span.fingerprint() == text.fingerprint()


@pytest.mark.real
def test_real_squad_v2_counts():
    examples = real("span", "dev-v2.0.json", unanswerable=True).examples("validation")
    assert (len(examples), sum(example.references == ("",) for example in examples)) == (11873, 5945)


@pytest.mark.real
def test_real_shifted_questions_are_a_test_split():
    task = real("text_to_text", "dev-v1.1.json")
    if not (DATA / "squadshifts").is_dir():
        pytest.skip("no squadshifts folder")
    assert len(task.examples("test")) == 7938


@UNHURRIED
@given(
    st.binary(max_size=80) | st.text('{}[]":,datqsu\\ud800\n0\u2028\ufeff', max_size=60).map(str.encode), st.booleans()
)
def test_any_bytes_are_read_or_refused_with_their_file(tmp_path, data, after_a_good_line):
    """Files that are no json, no UTF-8, cut short, or packed: whatever they are, a DataError names the file."""
    head = mrqa(mrqa_question()).encode() if after_a_good_line else b""
    for name in ("train.json", "train.jsonl", "train.jsonl.gz"):
        for content in (head + data, gzip.compress(head + data), (head + data)[: len(data) // 2]):
            (tmp_path / name).write_bytes(content)
            try:
                made(tmp_path, options={"files": {"train": name}}).examples("train")
            except DataError as error:
                assert name in str(error)
