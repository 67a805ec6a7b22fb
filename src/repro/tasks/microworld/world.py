"""People, places, firms and things, drawn so that a task's were never in the running text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from repro.tasks.microworld import lexicon

HELD_OUT_SHARE = 0.25
"""Share of the entities of each kind that stand in tasks only."""


@dataclass(frozen=True)
class Entity:
    """Something that a sentence can name."""

    words: tuple[str, ...]
    kind: str
    """person, town, firm, title, thing or spot"""
    pronoun: str | None = None
    """she or he, of a person"""

    @property
    def text(self) -> str:
        """Its name, as it stands inside a sentence."""
        return " ".join(self.words)


def held_out(name: str) -> bool:
    """Whether a name is kept for tasks: a hash of the name alone decides, so no list has to be shipped."""
    return hashlib.sha256(name.encode()).digest()[0] < HELD_OUT_SHARE * 256


class Draw:
    """Draws entities for one kind of use.

    Args:
        random: where the choices come from.
        for_tasks: True: only entities that running text never has; False: only the others.
    """

    def __init__(self, random: Random, for_tasks: bool):
        self.random, self.for_tasks = random, for_tasks

    def _fitting(self, make: Callable[[], Entity]) -> Entity:
        while True:
            made = make()
            if held_out(made.text) == self.for_tasks:
                return made

    def person(self) -> Entity:
        """A first name and a surname; the first name tells the pronoun."""

        def make() -> Entity:
            pronoun = self.random.choice(("she", "he"))
            words = self.random.choice(lexicon.FIRST_NAMES[pronoun]), self.random.choice(lexicon.SURNAMES)
            return Entity(words, "person", pronoun)

        return self._fitting(make)

    def town(self) -> Entity:
        """`Marsh`, `Port Marsh`, `Marsh Bay`, ..."""
        return self._fitting(lambda: self._formed(lexicon.TOWN_FORMS, lexicon.TOWN_WORDS, "town"))

    def firm(self) -> Entity:
        """`Marsh and Sons`, `Marsh Mill`, ... of a surname or a town's word."""
        names = (*lexicon.SURNAMES, *lexicon.TOWN_WORDS)
        return self._fitting(lambda: self._formed(lexicon.FIRM_FORMS, names, "firm"))

    def _formed(self, forms: Sequence[str], words: Sequence[str], kind: str) -> Entity:
        return Entity(tuple(self.random.choice(forms).format(self.random.choice(words)).split()), kind)

    def title(self) -> Entity:
        """A book, a play or a song: `The Silver River`, made of ordinary words."""

        def make() -> Entity:
            first, second = self.random.choice(lexicon.TITLE_FIRST), self.random.choice(lexicon.TITLE_SECOND)
            return Entity(("The", first, second), "title")

        return self._fitting(make)

    def thing(self) -> Entity:
        """`the copper lamp`"""

        def make() -> Entity:
            words = "the", self.random.choice(lexicon.ADJECTIVES), self.random.choice(lexicon.THINGS)
            return Entity(words, "thing")

        return self._fitting(make)

    def spot(self) -> Entity:
        """`the market`: these are few, and are not held out."""
        return Entity(("the", self.random.choice(lexicon.SPOTS)), "spot")

    def several(self, make: Callable[[], Entity], number: int) -> list[Entity]:
        """Different entities of one kind, no word shared but articles and forms."""
        found: list[Entity] = []
        while len(found) < number:
            one = make()
            if all(one.words[-1] != other.words[-1] and one.words[0] != other.words[0] for other in found) or (
                one.kind == "thing" and all(one.words[-1] != other.words[-1] for other in found)
            ):
                found.append(one)
        return found
