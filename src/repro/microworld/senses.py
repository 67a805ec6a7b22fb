"""Words with two senses, in sentences that tell which (word sense)."""

from __future__ import annotations

from repro.microworld import lexicon
from repro.microworld.world import Draw


def sense_sentence(draw: Draw, word: str, sense: str) -> str:
    """A sentence with the word in that sense; the last template of a sense stands in tasks only."""
    contexts, templates = lexicon.CONTEXTS[sense]
    allowed = templates if draw.for_tasks else templates[:-1]
    return draw.random.choice(allowed).format(*contexts.split(), w=word)


def sense_pair(draw: Draw, same: bool) -> tuple[str, str, str]:
    """A word and two different sentences with it, in one sense or in two."""
    word = draw.random.choice(list(lexicon.SENSES))
    first, second = draw.random.sample(lexicon.SENSES[word], 2)
    if same:
        second = first
    one = sense_sentence(draw, word, first)
    other = one
    while other == one:
        other = sense_sentence(draw, word, second)
    return word, one, other
