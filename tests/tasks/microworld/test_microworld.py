"""The small world: the same from a seed, what is held out stays out, and every label follows from the events."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from omegaconf import OmegaConf

from repro.config.compose import conf_dir
from repro.config.task_files import task_names, typed_task
from repro.errors import ConfigError, DataError
from repro.tasks.base import SPLITS
from repro.tasks.microworld import (
    VERSION,
    corpus,
    datasets,
    events,
    inferences,
    lexicon,
    reports,
    stories,
    world,
    writing,
)
from repro.tasks.microworld.senses import senses
from repro.tasks.registry import task_in_format

TASKS = [name for name in task_names() if typed_task(name, "d").source == "microworld"]


def text(seed: int, documents: int) -> list[str]:
    return list(itertools.islice(corpus.documents(seed), documents))


def drawn(for_tasks: bool = True, seed: int = 0) -> world.Draw:
    return world.Draw(Random(seed), for_tasks)


# Text ----------------------------------------------------------------------------------------------------------------


def test_the_text_is_a_function_of_the_seed() -> None:
    assert text(3, 50) == text(3, 50) != text(4, 50)


def test_it_has_some_thousand_words_and_short_documents() -> None:
    found = text(0, 3000)
    words = Counter(word.strip(".,?:") for document in found for word in document.split())
    assert 1500 < len(words) < 4000
    assert 20 < sum(words.values()) / len(found) < 100


def test_words_are_listed_once() -> None:
    for words in (
        lexicon.SURNAMES,
        lexicon.TOWN_WORDS,
        lexicon.THINGS,
        lexicon.ADJECTIVES,
        *lexicon.FIRST_NAMES.values(),
    ):
        assert len(set(words)) == len(words), [word for word, count in Counter(words).items() if count > 1]


def names(kind: str) -> list[str]:
    """All names that a kind of entity can have."""
    if kind == "person":
        firsts = [first for some in lexicon.FIRST_NAMES.values() for first in some]
        return [f"{first} {last}" for first in firsts for last in lexicon.SURNAMES]
    return [f"the {adjective} {thing}" for adjective in lexicon.ADJECTIVES for thing in lexicon.THINGS]


@pytest.mark.parametrize("kind", ["person", "thing"])
def test_held_out_entities_are_in_tasks_only(kind: str) -> None:
    kept = {name for name in names(kind) if world.held_out(name)}
    assert 0.2 < len(kept) / len(names(kind)) < 0.3
    everything = " ".join(text(1, 4000))
    pairs = (
        set(re.findall(r"(?=\b(\w+ \w+)\b)", everything))
        if kind == "person"
        else set(re.findall(r"the \w+ \w+", everything))
    )
    assert not pairs & kept
    tasks = " ".join(
        " ".join(made(split).values()) for made in (datasets.questions, datasets.roles) for split in ("validation",)
    )
    assert sum(name in tasks for name in kept) > 100


def test_forms_and_sentences_kept_for_tasks_are_not_in_the_text() -> None:
    everything = " ".join(text(2, 5000))
    cleft = re.compile(r"It was [\w ]+ who ")
    assert not cleft.search(everything) and cleft.search(datasets.roles("test")["test.txt"])
    for word, two in senses().items():
        for known in two.values():
            kept = known["sentences"][-1].format(*known["context"].split(), w=word)
            assert kept not in everything


def test_every_sense_has_its_words_and_sentences() -> None:
    assert len(senses()) >= 20
    for word, two in senses().items():
        assert len(two) == 2, word
        for sense, known in two.items():
            assert len(known["context"].split()) == 4 and len(known["sentences"]) >= 4, sense
            assert all("{w}" in sentence for sentence in known["sentences"]), sense


# Labels --------------------------------------------------------------------------------------------------------------


def holds(event: events.Event, story: stories.Story) -> bool:
    """Whether the story has the event, or it from the other end."""
    return any(event.core == other.core for other in story.events)


def test_what_is_false_did_not_happen_and_what_is_true_did() -> None:
    draw, seen = drawn(), Counter[str]()
    for _ in range(2000):
        story = stories.draw_story(draw, draw.random.choice((1, 2, 3)))
        for event in story.events:
            assert holds(event, story)
            if event.a2 is not None:
                assert event.converse().converse() == event and holds(event.converse(), story)
        changed = stories.falsified(draw, draw.random.choice(story.events), story)
        if changed is not None:
            assert not holds(changed, story)
            seen[changed.kind] += 1
    assert set(seen) == set(events.KINDS) and min(seen.values()) > 50


def test_an_answer_stands_where_the_file_says_and_answers_one_event_only() -> None:
    draw = drawn()
    for _ in range(1000):
        story = stories.draw_story(draw, 3)
        asked = stories.open_question(draw, story)
        if asked.answer is None:
            continue
        assert asked.start is not None
        assert story.text[asked.start : asked.start + len(asked.answer)] == asked.answer


def test_a_question_without_an_answer_is_answered_by_no_event() -> None:
    """Every question that the story can answer, written out for each event and end, is another one."""
    draw = drawn()
    for _ in range(1000):
        story = stories.draw_story(draw, 3)
        asked = stories.hopeless_question(draw, story).question
        both = [*story.events, *(event.converse() for event in story.events if event.a2 is not None)]
        answered = {events.question(event, end) for event in both for end in events.answerable(event)}
        assert asked not in answered


def test_a_conclusion_follows_or_not_by_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are balanced; a denied premise never entails the affirmed event."""
    draw, follows = drawn(), Counter[bool]()
    for _ in range(2000):
        premise, other, right = inferences.conclusion(draw)
        follows[right] += 1
        if len(re.findall(r"\bnot\b", premise + other)) == 1:
            assert not right, (premise, other)
    assert 0.4 < follows[True] / 2000 < 0.6


def test_a_sentence_says_its_roles() -> None:
    mara, tobin = world.Entity(("Mara", "Venn"), "person", "she"), world.Entity(("Tobin", "Pell"), "person", "he")
    lamp, port = world.Entity(("the", "copper", "lamp"), "thing"), world.Entity(("Port", "Marsh"), "town")
    event = events.Event("transfer", lexicon.TRANSFERS[0], mara, lamp, tobin, port, ("on", "Monday"))
    assert {form: events.said(event, form) for form in events.FORMS} == {
        "active": "Mara Venn gave the copper lamp to Tobin Pell in Port Marsh on Monday.",
        "dative": "Mara Venn gave Tobin Pell the copper lamp in Port Marsh on Monday.",
        "passive": "The copper lamp was given to Tobin Pell by Mara Venn in Port Marsh on Monday.",
        "place_first": "In Port Marsh, Mara Venn gave the copper lamp to Tobin Pell on Monday.",
        "time_first": "On Monday, Mara Venn gave the copper lamp to Tobin Pell in Port Marsh.",
        "cleft": "It was Mara Venn who gave the copper lamp to Tobin Pell in Port Marsh on Monday.",
    }
    asked = {end: events.question(event, end) for end in events.answerable(event)}
    assert asked == {
        "a0": "Who gave the copper lamp to Tobin Pell?",
        "a1": "What did Mara Venn give to Tobin Pell?",
        "a2": "Who did Mara Venn give the copper lamp to?",
        "place": "Where did Mara Venn give the copper lamp to Tobin Pell?",
        "time": "When did Mara Venn give the copper lamp to Tobin Pell?",
    }
    answers = [events.answer(event, end) for end in events.ASKED]
    assert answers == ["Mara Venn", "copper lamp", "Tobin Pell", "Port Marsh", "Monday"]
    assert events.said(event.converse(), "active").startswith("Tobin Pell received the copper lamp from Mara Venn")


def test_a_summary_says_what_its_report_does() -> None:
    draw = drawn()
    for domain in reports.DOMAINS:
        for _ in range(200):
            report = reports.draw_report(draw, domain)
            capitals = [word.strip(".") for word in report.summary.split()[1:] if word[0].isupper()]
            assert all(word in report.text for word in capitals), report


# Data sets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_every_split_is_as_its_config_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written anew: the rows, the content's hash, every label used, no example in two splits."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = typed_task(name, "d")
    task = task_in_format(config, config.formats[-1])
    inputs: dict[str, set[str]] = {}
    for split in SPLITS:
        found = task.examples(split)
        facts = task.fingerprint()[split]
        assert facts["rows"] == config.rows[split]
        assert facts["sha256"].startswith(config.sha256[split])
        inputs[split] = (
            {json.dumps([example.fields[key] for key in task.inputs], default=str) for example in found}
            if hasattr(task, "inputs")
            else {json.dumps(example.fields, default=str) for example in found}
        )
        assert all(example.references for example in found)
    if name not in ("mini_wic", "mini_tables"):  # a small stock of sentences; few records are possible
        shared = inputs["test"] & inputs["train"]
        assert len(shared) < 0.02 * len(inputs["test"]), shared
    assert (tmp_path / "repro" / f"microworld-v{VERSION}" / name).is_dir()


@pytest.mark.parametrize("name", ["mini_boolq", "mini_rte", "mini_wic", "mini_agent"])
def test_no_class_is_more_frequent(name: str) -> None:
    for split in SPLITS:
        rows = [json.loads(line) for line in datasets.DATASETS[name](split)[f"{split}.jsonl"].splitlines()]
        assert Counter(row["label"] for row in rows) == dict.fromkeys(typed_task(name, "d").labels, len(rows) // 2)


def test_who_acts_is_told_by_the_sentence() -> None:
    """By rule: behind `by` in a passive; else the first name, behind a place or time that opens the sentence."""
    for line in datasets.agents("test")["test.jsonl"].splitlines():
        row = json.loads(line)
        text = re.sub(r"^(In|At|On) [^,]*, |^It was ", "", row["sentence"])
        text = text.split(" by ")[1] if re.search(r" was \w+ (to|from|by) ", text) else text
        name = " ".join(text.split()[:3])
        assert bool(re.search(r"\b(and Sons|Works|Mill|Trading|Society)\b", name)) == (row["label"] == "firm"), row


def test_unseen_kinds_are_in_the_test_alone() -> None:
    config = typed_task("mini_tables", "d")
    task = task_in_format(config, "text_to_text")
    kinds = {split: {example.fields["source"].split(" | ")[1] for example in task.examples(split)} for split in SPLITS}
    assert kinds["train"] == kinds["validation"] and len(kinds["test"] - kinds["train"]) == 3
    subsets = Counter(example.meta["subset"] for example in task.examples("test"))
    assert subsets == {"seen": 100, "unseen": 100}
    assert not re.search(r"kind : (museum|school|farm)", " ".join(text(5, 5000)))


def test_a_data_set_is_written_whole_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = writing.folder("mini_wic")
    writing.ensure(place)
    assert sorted(path.name for path in place.iterdir()) == ["test.jsonl", "train.jsonl", "validation.jsonl"]
    assert [path.name for path in place.parent.iterdir()] == ["mini_wic"]
    before = (place / "train.jsonl").stat().st_mtime_ns
    writing.ensure(place)
    assert (place / "train.jsonl").stat().st_mtime_ns == before


def test_a_fault_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="must end in one of mini_boolq"):
        task_in_format(replace(typed_task("mini_wic", "d"), data_dir="d/mini_wik"), "pair")
    (tmp_path / "repro").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        writing.ensure(writing.folder("mini_wic"))


def test_every_data_set_has_its_task() -> None:
    assert set(TASKS) == set(datasets.DATASETS)
    for name in TASKS:
        assert OmegaConf.load(conf_dir() / "task" / f"{name}.yaml").paper_name is None


def test_what_a_killed_writer_left_is_removed(tmp_path):
    for left in (".mini_agent-00", ".mini_ner-11"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "train.jsonl").write_text("half")
    writing.ensure(tmp_path / "mini_agent")
    assert [path.name for path in tmp_path.iterdir()] == ["mini_agent"]
