"""Words with two senses, in sentences that tell which (word sense)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from repro.tasks.microworld.world import Draw


@cache
def senses() -> dict[str, dict[str, Any]]:
    """{word: {sense: its `context` and `sentences`}}, from `senses.yaml`."""
    import yaml

    found: dict[str, dict[str, Any]] = yaml.safe_load(files(__package__).joinpath("senses.yaml").read_text("utf-8"))
    return found


def sense_sentence(draw: Draw, word: str, sense: str) -> str:
    """A sentence with the word in that sense; the last of a sense stands in tasks only."""
    known = senses()[word][sense]
    allowed = known["sentences"] if draw.for_tasks else known["sentences"][:-1]
    return str(draw.random.choice(allowed).format(*known["context"].split(), w=word))


def sense_pair(draw: Draw, same: bool) -> tuple[str, str, str]:
    """A word and two different sentences with it, in one sense or in two."""
    word = draw.random.choice(list(senses()))
    first, second = draw.random.sample(list(senses()[word]), 2)
    if same:
        second = first
    one = sense_sentence(draw, word, first)
    other = one
    while other == one:
        other = sense_sentence(draw, word, second)
    return word, one, other
