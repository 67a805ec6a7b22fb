"""The labelled tasks of the small world, as files in the formats of the papers' data sets.

Every example is drawn for its split alone: from entities, sentence forms and templates of which a share was never in
the running text (`world.held_out`, `events.TASK_FORMS`, the last sentence of a sense, the last pattern of a record).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from repro.tasks.microworld import VERSION
from repro.tasks.microworld.events import Event, Piece, draw_event, pieces, possible_forms, said, words_of
from repro.tasks.microworld.inferences import conclusion
from repro.tasks.microworld.records import SEEN, UNSEEN, Record, descriptions, draw_record
from repro.tasks.microworld.reports import draw_report
from repro.tasks.microworld.senses import sense_pair
from repro.tasks.microworld.stories import draw_story, false_question, hopeless_question, open_question, true_question
from repro.tasks.microworld.world import Draw

ROWS = {"train": 4000, "validation": 300, "test": 400}
"""Examples of the tasks that are classified, tagged or marked."""
TEXT_ROWS = {"train": 3000, "validation": 100, "test": 200}
"""Records and reports: what is generated takes longer to evaluate."""
REFERENCES = 3
"""Texts of a record in validation and test."""
YES_NO = ("no", "yes")
TAGS = {"person": "PER", "town": "LOC", "firm": "ORG", "title": "WORK"}

Files = dict[str, str]
"""{file name: content}"""


def drawn(name: str, split: str) -> Draw:
    """Where the examples of one split come from."""
    return Draw(Random(f"microworld {VERSION} {name} {split}"), for_tasks=True)


def _jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def questions(split: str) -> Files:
    """Yes/no questions on a passage (BoolQ's format)."""
    draw, rows = drawn("questions", split), []
    for number in range(ROWS[split]):
        story, yes = draw_story(draw, draw.random.choice((2, 3))), bool(number % 2)
        asked = true_question(draw, story) if yes else false_question(draw, story)
        rows.append({"passage": story.text, "question": asked, "label": YES_NO[yes]})
    draw.random.shuffle(rows)
    return {f"{split}.jsonl": _jsonl(rows)}


def entailment(split: str) -> Files:
    """Premise, hypothesis, and whether it follows (RTE's format)."""
    draw, rows = drawn("entailment", split), []
    for number in range(ROWS[split]):
        found = conclusion(draw)
        while found[2] != bool(number % 2):
            found = conclusion(draw)
        rows.append({"premise": found[0], "hypothesis": found[1], "label": YES_NO[found[2]]})
    draw.random.shuffle(rows)
    return {f"{split}.jsonl": _jsonl(rows)}


def word_sense(split: str) -> Files:
    """One word in two sentences, in one sense or two (WiC's format)."""
    draw, rows = drawn("word sense", split), []
    for number in range(ROWS[split]):
        word, one, other = sense_pair(draw, bool(number % 2))
        rows.append({"word": word, "sentence1": one, "sentence2": other, "label": YES_NO[bool(number % 2)]})
    draw.random.shuffle(rows)
    return {f"{split}.jsonl": _jsonl(rows)}


AGENTS = ("person", "firm")


def agents(split: str) -> Files:
    """Whether a person or a firm acts in a sentence that names one of each (one text and its class)."""
    draw, rows = drawn("agents", split), []
    for number in range(ROWS[split]):
        acting = AGENTS[number % 2]
        event = None
        while event is None or event.a0.kind != acting:
            kind = draw.random.choice(("transfer", "receipt", "social"))
            event = draw_event(draw, [draw.person(), draw.firm()], draw.several(draw.thing, 1), kind)
        rows.append({"sentence": said(event, draw.random.choice(possible_forms(event, True))), "label": acting})
    draw.random.shuffle(rows)
    return {f"{split}.jsonl": _jsonl(rows)}


def _reading(name: str, split: str, unanswerable: float) -> Files:
    draw, paragraphs = drawn(name, split), []
    for number in range(ROWS[split]):
        story = draw_story(draw, draw.random.choice((2, 3)))
        hopeless = draw.random.random() < unanswerable
        asked = hopeless_question(draw, story) if hopeless else open_question(draw, story)
        while asked.answer is None and not hopeless:  # a rare story answers none
            story = draw_story(draw, 3)
            asked = open_question(draw, story)
        answers = [] if asked.answer is None else [{"text": asked.answer, "answer_start": asked.start}]
        question: dict[str, Any] = {"id": f"{split}-{number}", "question": asked.question, "answers": answers}
        if unanswerable:
            question["is_impossible"] = hopeless
        paragraphs.append({"context": story.text, "qas": [question]})
    data = {"version": f"microworld {VERSION}", "data": [{"title": "microworld", "paragraphs": paragraphs}]}
    return {f"{split}.json": json.dumps(data)}


def reading(split: str) -> Files:
    """Who, what, where and when on a passage that answers (SQuAD 1.1's format)."""
    return _reading("reading", split, 0.0)


def reading_unanswerable(split: str) -> Files:
    """The same, and every third question has no answer (SQuAD 2.0's format)."""
    return _reading("reading unanswerable", split, 1 / 3)


# Tags ----------------------------------------------------------------------------------------------------------------

_PREPOSITIONS = {"in", "at", "by", "to", "from", "on"}


def _entity_tags(sentence: list[Piece]) -> list[str]:
    """A tag for every word: names of people, towns and firms, their prepositions left out."""
    found: list[str] = []
    for piece in sentence:
        tag = TAGS.get(piece.kind)
        inside = False
        for word in piece.words:
            if tag is None or (word in _PREPOSITIONS and not inside):
                found.append("O")
            else:
                found.append(f"{'I' if inside else 'B'}-{tag}")
                inside = True
    return found


def _title_sentence(draw: Draw) -> tuple[list[str], list[str]]:
    """`The inn The Golden Crown belongs to Mara Venn .` with its tags."""
    record = draw_record(draw, SEEN | UNSEEN)
    title, name, value = record.name.split(), *draw.random.choice(record.values)
    kind = {"town": "LOC", "home": "LOC", "owner": "PER", "captain": "PER", "author": "PER", "head": "PER"}.get(name)
    verb = {"town": "is in", "home": "comes from", "owner": "belongs to", "author": "was written by"}.get(
        name, "is led by"
    )
    if kind is None:
        verb, value, kind = "is known to", draw.person().text, "PER"
    words = ["The", record.kind, *title, *verb.split(), *value.split(), "."]
    ends = [f"{'I' if number else 'B'}-{kind}" for number in range(len(value.split()))]
    tags = ["O", "O", "B-WORK", *["I-WORK"] * (len(title) - 1), *["O"] * len(verb.split()), *ends, "O"]
    return words, tags


def entities(split: str) -> Files:
    """Names of people, towns, firms and works (CoNLL's column format); a word alone does not tell which."""
    draw, blocks = drawn("entities", split), []
    for _ in range(ROWS[split]):
        if draw.random.random() < 0.2:
            words, tags = _title_sentence(draw)
        else:
            event = _any_event(draw)
            sentence = pieces(event, draw.random.choice(possible_forms(event, True)))
            words, tags = words_of(sentence), [*_entity_tags(sentence), "O"]
        blocks.append("".join(f"{word} {tag}\n" for word, tag in zip(_capital(words), tags, strict=True)))
    return {f"{split}.txt": "\n".join(blocks) + "\n"}


def _any_event(draw: Draw) -> Event:
    people = draw.several(draw.person, 3)
    if draw.random.random() < 0.4:
        people[2] = draw.firm()
    return draw_event(draw, people, draw.several(draw.thing, 2))


def _capital(words: list[str]) -> list[str]:
    return [words[0][0].upper() + words[0][1:], *words[1:]]


def roles(split: str) -> Files:
    """Who did what to whom (P-Tuning v2's line format: the predicate's index, the words, a tag for each)."""
    draw, lines = drawn("roles", split), []
    for _ in range(ROWS[split]):
        event = _any_event(draw)
        sentence = pieces(event, draw.random.choice(possible_forms(event, True)))
        tags: list[str] = []
        for piece in sentence:
            inside = [f"I-{piece.role}"] * (len(piece.words) - 1)
            tags += [f"B-{piece.role}", *inside] if piece.role else ["O"] * len(piece.words)
        words = _capital(words_of(sentence))
        lines.append(f"{tags.index('B-V')} {' '.join(words)} ||| {' '.join([*tags, 'O'])}\n")
    return {f"{split}.txt": "".join(lines)}


# Texts ---------------------------------------------------------------------------------------------------------------


def records(split: str) -> Files:
    """Records to texts; half of the test records are of kinds that training has not."""
    draw = drawn("records", split)
    rows: list[dict[str, Any]] = []
    for number in range(TEXT_ROWS[split]):
        unseen = split == "test" and bool(number % 2)
        record: Record = draw_record(draw, UNSEEN if unseen else SEEN)
        texts = descriptions(record, draw.random, 1 if split == "train" else REFERENCES)
        rows.append({"source": record.line, "texts": texts, "subset": "unseen" if unseen else "seen"})
    return {f"{split}.jsonl": _jsonl(rows)}


def _reports(name: str, split: str, domain: str) -> Files:
    draw = drawn(name, split)
    found = [draw_report(draw, domain) for _ in range(TEXT_ROWS[split])]
    stem = {"train": "train", "validation": "val", "test": "test"}[split]
    return {
        f"{stem}.source": "".join(f"{report.text}\n" for report in found),
        f"{stem}.target": "".join(f"{report.summary}\n" for report in found),
    }


def summaries(split: str) -> Files:
    """News of the town and its summary (XSum's line format)."""
    return _reports("summaries", split, "town")


def summaries_other_domain(split: str) -> Files:
    """Trained on news of the town, tested on contests."""
    return _reports("summaries", split, "town") if split != "test" else _reports("contests", split, "contest")


DATASETS: Mapping[str, Callable[[str], Files]] = {
    "mini_boolq": questions,
    "mini_rte": entailment,
    "mini_wic": word_sense,
    "mini_agent": agents,
    "mini_squad": reading,
    "mini_squad2": reading_unanswerable,
    "mini_ner": entities,
    "mini_srl": roles,
    "mini_tables": records,
    "mini_summaries": summaries,
    "mini_summaries_ood": summaries_other_domain,
}
"""Folder, which is the task's name, to what writes one split of it."""
