"""WSC rows of our own making, in the official format, and the rule by which a written phrase is compared."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError
from repro.tasks.base import Pair, TextToText
from repro.tasks.wording import Worded
from repro.tasks.wsc import DETERMINERS, EXCEPTIONS_DEVIATION, Wsc, names_referent, repaired
from tests.tasks.making import make

DATA = Path(os.environ.get("REPRO_DATA_ROOT") or Path(__file__).resolve().parents[3] / "shared" / "data")
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80)
SPANS = {"span1_index": 0, "span1_text": "Ann", "span2_index": 4, "span2_text": "she"}
ROW = {"text": "Ann told Lee  she won.", "target": SPANS, "idx": 2, "label": True}
"""Two spaces: between single spaces stands an empty word, so that the pronoun is word 4 for T5, word 3 in English."""
PLAIN = {**ROW, "text": "Ann told Lee that she won."}


def write(folder: Path, name: str, *rows: object) -> None:
    (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def wsc(folder, format="text_to_text", **changes):
    changes = {"labels": ["False", "True"], **changes}
    return make(Wsc, name="wsc", format=format, data_dir=str(folder), metrics=[], **changes)


def test_as_lester_trains_on_it(tmp_path):
    """True rows alone; the target is the phrase."""
    write(tmp_path, "train.jsonl", PLAIN, {**PLAIN, "label": False}, ROW)
    task = wsc(tmp_path, rows={"train": 3})
    assert [task.render(example) for example in task.examples("train")] == [
        TextToText("Ann told Lee that *she* won.", "Ann"),
        TextToText("Ann told Lee  *she* won.", "Ann"),
    ]
    assert task.fingerprint()["train"]["rows"] == 3
    assert task.deviations == (EXCEPTIONS_DEVIATION,)


def test_as_lester_scores_it(tmp_path):
    write(tmp_path, "val.jsonl", PLAIN, {**PLAIN, "label": False})
    task = wsc(tmp_path)
    examples = task.examples("validation")
    assert [example.references for example in examples] == [(1,), (0,)]
    assert [task.parse(text, examples[1]) for text in ("Ann", "the Ann", "Lee", "", "her")] == [1, 1, 0, -1, -1]


@pytest.mark.parametrize(
    ("text", "phrase", "index", "right"),
    [
        ("Later the demonstrators left.", "The demonstrators", 1, "the demonstrators"),
        ("The men left.", "the men", 0, "The men"),
        ("Ann saw the big dog today.", "the big\ndog.", 2, "the big dog"),
        ("Kamenev met Zinoviev.", "Kamenev and Zinoviev", 0, "Kamenev and Zinoviev"),
        ("Ann saw The dog.", "The dog", 2, "The dog"),
    ],
)
def test_a_phrase_that_is_not_in_its_text_is_repaired(text, phrase, index, right):
    assert repaired(text, phrase, index) == right


@pytest.mark.real
def test_as_many_targets_of_the_real_files_are_repaired_as_by_the_official_loader():
    """Counted with that loader: 40 of 259 training targets, 8 of 104 validation phrases."""
    folder = DATA / "superglue" / "WSC"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set REPRO_DATA_ROOT)")
    as_text, as_pair = (wsc(folder, format) for format in ("text_to_text", "pair"))
    counts = {}
    for split in ("train", "validation"):
        plain = {example.id: example.fields["span1_text"] for example in as_pair.examples(split)}
        examples = as_text.examples(split)
        counts[split] = (sum(example.fields["span1_text"] != plain[example.id] for example in examples), len(examples))
    assert counts == {"train": (40, 259), "validation": (8, 104)}


def test_the_task_name_is_wsc_with_a_colon(tmp_path):
    write(tmp_path, "train.jsonl", PLAIN)
    task = Worded(wsc(tmp_path), named=True, sentinel=False)
    assert task.render(task.examples("train")[0]).source == "wsc: Ann told Lee that *she* won."


def test_as_p_tuning_v2_shows_it(tmp_path):
    write(tmp_path, "train.jsonl", PLAIN, {**ROW, "label": False, "target": {**SPANS, "span2_index": 3}})
    task = wsc(tmp_path, "pair")
    assert [task.render(example) for example in task.examples("train")] == [
        Pair("she: Ann told Lee that she won.", "Ann", 1),
        Pair("she: Ann told Lee  she won.", "Ann", 0),
    ]
    task = wsc(tmp_path, "pair", options={"template_id": 1})
    assert [task.render(example).first for example in task.examples("train")] == [
        "Ann told Lee that *she* won.",
        "Ann told Lee *she* won.",  # words of any white space, joined by one space
    ]
    assert task.deviations == ()


@pytest.mark.parametrize(
    ("text", "index", "shown"),
    [
        ('He left. "Shame on him," she said.', 4, 'He left. "Shame on *him* ," she said.'),
        ("They want to use him , but how?", 3, "They want to use *him* , but how?"),
        ("him and her", 0, "*him* and her"),
        ("they saw him", 2, "they saw *him*"),
    ],
)
def test_the_two_exceptions(tmp_path, text, index, shown):
    """A mark that sticks to the pronoun, and an index that is one word early; and both ends of a text."""
    spans = {**SPANS, "span2_text": "him", "span2_index": index}
    write(tmp_path, "val.jsonl", {**ROW, "text": text, "target": spans})
    task = wsc(tmp_path)
    assert task.render(task.examples("validation")[0]).source == shown


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ({"span2_index": 1}, "span2_text is 'she', but word 1 of the text, counted from 0, is 'told'"),
        ({"span2_index": 99}, "word 99 of the text, counted from 0, is ''"),
        ({"span2_index": -1}, "'span2_index' is -1: a whole number"),
        ({"span2_index": "4"}, "'span2_index' is '4'"),
        ({"span1_text": None}, "'span1_text' is None, a string is needed"),
    ],
)
def test_a_pronoun_that_is_not_there(tmp_path, spans, reason):
    write(tmp_path, "val.jsonl", PLAIN, {**PLAIN, "target": {**SPANS, **spans}})
    with pytest.raises(DataError, match=rf"val\.jsonl:2.*{reason}"):
        wsc(tmp_path).examples("validation")


def test_a_marked_word_outside_the_text_is_refused_in_the_pair_form_too(tmp_path):
    write(tmp_path, "val.jsonl", {**PLAIN, "target": {**SPANS, "span2_index": 6}})
    assert len(wsc(tmp_path, "pair").examples("validation")) == 1, "template 0 marks no word"
    with pytest.raises(DataError, match=r"val\.jsonl:1: span2_index is 6: the text has fewer words"):
        wsc(tmp_path, "pair", options={"template_id": 1}).examples("validation")


@pytest.mark.parametrize(
    ("written", "phrase", "same"),
    [
        ("The fuzzy bunny", "bunny", 1),
        ("bunny", "his fuzzy bunny", 1),
        ("Bob", "Bob's hat", 0),
        ("bob's", "BOB'S HAT", 1),
        ("Ann and Lee", "Lee and Bob", 0),
        ("Tom", "the", 0),
        ("", "the", -1),
        ("  The  ", "Ann", -1),
    ],
)
def test_phrases(written, phrase, same):
    assert names_referent(written, phrase) == same


WORDS = st.lists(st.sampled_from(["the", "His", "bob", "bob's", "hat", "Ann"]), max_size=4)


@given(WORDS, WORDS)
def test_the_rule_written_out(said, wanted):
    def bare(words):
        return [word.lower() for word in words if word.lower() not in DETERMINERS]

    ours, theirs = bare(said), bare(wanted)
    if not ours:
        expected = -1
    elif any("'" in word for word in ours) != any("'" in word for word in theirs):
        expected = 0
    else:
        expected = int(all(w in (theirs or [""]) for w in ours) or all(w in ours for w in (theirs or [""])))
    assert names_referent(" ".join(said), " ".join(wanted)) == expected


def test_each_form_asks_the_hub_for_its_own_version(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []
    flat = {name: value for name, value in PLAIN.items() if name != "target"} | SPANS | {"label": 1}

    def load(_, config, **__):
        asked.append(config)
        made = datasets.Dataset.from_list([flat])
        return made.cast_column("label", datasets.ClassLabel(names=["False", "True"]))

    monkeypatch.setattr(datasets, "load_dataset", load)
    write(tmp_path, "train.jsonl", PLAIN)
    options = {"hub_configs": {"text_to_text": "wsc.fixed"}}
    for format in ("text_to_text", "pair"):
        hub = wsc("", format, source="hub", hub_id="o/n", hub_config="wsc", options=options)
        assert hub.examples("train") == wsc(tmp_path, format).examples("train")
    assert asked == ["wsc.fixed", "wsc"]


def test_hub_and_file_have_one_fingerprint(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    flat = {name: value for name, value in PLAIN.items() if name not in ("target", "label")} | SPANS | {"label": -1}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list([flat]))
    write(tmp_path, "test.jsonl", {name: value for name, value in PLAIN.items() if name != "label"})
    hub, local = wsc("", source="hub", hub_id="o/n"), wsc(tmp_path)
    assert hub.examples("test") == local.examples("test") and hub.fingerprint() == local.fingerprint()
    assert local.examples("test")[0].references == ()


def test_a_config_that_cannot_work_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"task\.labels"):
        wsc(tmp_path, labels=["no", "yes"])
    with pytest.raises(ConfigError, match=r"template_id is 2.*\[0, 1\]"):
        wsc(tmp_path, "pair", options={"template_id": 2})


SCALARS = st.none() | st.booleans() | st.integers(-1, 5) | st.text("a he\ud800", max_size=6)
TARGET = st.fixed_dictionaries({}, optional=dict.fromkeys(SPANS, SCALARS))


@UNHURRIED
@given(st.fixed_dictionaries({}, optional={"text": SCALARS, "target": TARGET | SCALARS, "label": SCALARS}))
def test_a_row_is_read_or_refused_with_its_place(tmp_path_factory, row):
    folder = tmp_path_factory.getbasetemp() / "wsc"
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        write(folder, f"{split}.jsonl", row)
        for format, template in (("text_to_text", 0), ("pair", 0), ("pair", 1)):
            task = wsc(folder, format, options={"template_id": template})
            try:
                examples = task.examples(split)
            except DataError as error:
                assert f"{split}.jsonl:1" in str(error)
            else:
                assert all(task.render(example) for example in examples)
