"""Records of inns, ships and other things, and the several ways to put one into words (table-to-text)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from repro.tasks.microworld import lexicon
from repro.tasks.microworld.events import written
from repro.tasks.microworld.world import Draw

FOODS = ["fish", "soup", "bread", "cheese", "pies", "stew"]
GOODS = ["wool", "salt", "timber", "wine", "iron", "grain"]
CROPS = ["barley", "apples", "oats", "cabbages", "plums", "beans"]
SUBJECTS = ["drawing", "sums", "writing", "singing", "sewing", "history"]
TOPICS = ["the sea", "the war", "old kings", "a long journey", "two brothers", "a lost child"]
MUSIC = ["flute", "fiddle", "drum", "harp", "horn", "organ"]

SEEN = {
    "inn": ("town", "food", "price", "owner"),
    "ship": ("home", "cargo", "captain", "age"),
    "book": ("author", "topic", "price", "age"),
    "festival": ("town", "month", "music"),
    "shop": ("town", "goods", "owner", "price"),
}
UNSEEN = {
    "museum": ("town", "shows", "age", "price"),
    "school": ("town", "teaches", "head"),
    "farm": ("town", "crop", "owner"),
}
"""Kinds whose records stand neither in running text nor in training sets, though sentences about them do."""
PHRASES = {
    "town": ("stands in {}", "is in {}"),
    "food": ("serves {}", "offers {}"),
    "price": ("is {}",),
    "owner": ("belongs to {}", "is owned by {}"),
    "home": ("sails from {}", "comes from {}"),
    "cargo": ("carries {}", "is loaded with {}"),
    "captain": ("is led by {}", "obeys {}"),
    "age": ("is {} years old",),
    "author": ("was written by {}", "is by {}"),
    "topic": ("tells of {}", "is about {}"),
    "month": ("takes place in {}", "is held in {}"),
    "music": ("has {} music", "offers {} music"),
    "goods": ("sells {}", "deals in {}"),
    "shows": ("shows {}", "is full of {}"),
    "teaches": ("teaches {}",),
    "head": ("is led by {}",),
    "crop": ("grows {}", "is known for {}"),
}
_ARTICLES = {"inn": "an"}


@dataclass(frozen=True)
class Record:
    """A named thing with its attributes in order."""

    kind: str
    name: str
    values: tuple[tuple[str, str], ...]

    @property
    def line(self) -> str:
        """`name : The Golden Crown | kind : inn | food : fish`"""
        parts = [("name", self.name), ("kind", self.kind), *self.values]
        return " | ".join(f"{name} : {value}" for name, value in parts)


def draw_record(draw: Draw, kinds: dict[str, tuple[str, ...]]) -> Record:
    """A record of one of the kinds, with two or three of its attributes."""
    random = draw.random
    kind = random.choice(list(kinds))
    chosen = random.sample(kinds[kind], random.choice((2, 3)))
    return Record(kind, draw.title().text, tuple((name, _value(draw, name)) for name in kinds[kind] if name in chosen))


def _value(draw: Draw, name: str) -> str:
    random = draw.random
    if name in ("town", "home"):
        return draw.town().text
    if name in ("owner", "captain", "author", "head"):
        return draw.person().text
    words = {
        "food": FOODS, "price": ("cheap", "dear"), "cargo": GOODS, "age": lexicon.NUMBERS, "topic": TOPICS,
        "month": lexicon.MONTHS, "music": MUSIC, "goods": [f"{thing}s" for thing in lexicon.THINGS[:24]],
        "shows": [f"{adjective} {thing}s" for adjective in ("old", "broken") for thing in lexicon.THINGS[:12]],
        "teaches": SUBJECTS, "crop": CROPS,
    }  # fmt: skip
    return random.choice(words[name])


def description(record: Record, random: Random, for_tasks: bool) -> str:
    """One way to say a record; the last pattern stands in tasks only."""
    phrases = [random.choice(PHRASES[name]).format(value) for name, value in record.values]
    if random.random() < 0.5:
        phrases.reverse()
    article, kind, name = _ARTICLES.get(record.kind, "a"), record.kind, record.name
    joined = " and ".join(phrases[:2])
    more = "".join(f" It {phrase}." for phrase in phrases[2:])
    patterns = [
        f"{name} is {article} {kind} that {joined}.{more}",
        f"There is {article} {kind} called {name}. It {joined}.{more}",
        f"The {kind} {name} {phrases[0]}. It {' and '.join(phrases[1:])}.",
        f"{name} {phrases[0]}. This {kind} {' and '.join(phrases[1:])}.",
        f"{name}, {article} {kind} that {phrases[0]}, {' and '.join(phrases[1:])}.",
    ]
    return random.choice(patterns if for_tasks else patterns[:-1])


def descriptions(record: Record, random: Random, number: int) -> list[str]:
    """Different texts of one record, for a task's references."""
    found: list[str] = []
    while len(found) < number:
        text = description(record, random, for_tasks=True)
        if text not in found:
            found.append(text)
    return found


def remark(draw: Draw) -> str:
    """A sentence about a thing of an unseen kind, without a record: what running text knows of those."""
    record = draw_record(draw, UNSEEN)
    name, value = draw.random.choice(record.values)
    return written(["the", record.kind, record.name, draw.random.choice(PHRASES[name]).format(value), "."])
