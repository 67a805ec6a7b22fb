"""Who did what to whom, where and when: events, the sentences that say them, and questions about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from repro.tasks.microworld import lexicon
from repro.tasks.microworld.world import Draw, Entity

KINDS = ("transfer", "receipt", "change", "social", "move")
_VERBS = {
    "transfer": lexicon.TRANSFERS,
    "receipt": lexicon.RECEIPTS,
    "change": lexicon.CHANGES,
    "social": lexicon.SOCIALS,
    "move": lexicon.MOVES,
}
FORMS = ("active", "dative", "passive", "place_first", "time_first", "cleft")
"""How a sentence says an event. `cleft` stands in tasks only."""
TASK_FORMS = ("cleft",)


@dataclass(frozen=True)
class Piece:
    """Words that play one role of a sentence, and the kind of entity that they name."""

    words: tuple[str, ...]
    role: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Event:
    """A verb with its roles, numbered as in PropBank: `a0` acts, `a1` is what it happens to, `a2` the other end."""

    kind: str
    verb: tuple[str, ...]
    """Lemma, past, participle; of a transfer or a receipt the converse's lemma too."""
    a0: Entity
    a1: Entity
    a2: Entity | None = None
    place: Entity | None = None
    time: tuple[str, ...] | None = None
    """`on Monday`, `in March`"""
    manner: str | None = None
    negated: bool = False

    @property
    def core(self) -> tuple[object, ...]:
        """What happened, without where, when and how; equal for an event and its converse."""
        if self.kind == "receipt":
            assert self.a2 is not None
            return (self.verb[3], self.a2, self.a1, self.a0)
        return (self.verb[0], self.a0, self.a1, self.a2)

    def converse(self) -> Event:
        """The same happening from the other end: giving to is receiving from."""
        assert self.a2 is not None, "only a transfer or a receipt has a converse"
        kind, verbs = ("receipt", lexicon.RECEIPTS) if self.kind == "transfer" else ("transfer", lexicon.TRANSFERS)
        verb = next(verb for verb in verbs if verb[0] == self.verb[3])
        return replace(self, kind=kind, verb=verb, a0=self.a2, a2=self.a0)


def draw_event(draw: Draw, people: list[Entity], things: list[Entity], kind: str | None = None) -> Event:
    """An event among these people and things, with a place and a time by chance."""
    random = draw.random
    kind = kind or random.choice(KINDS)
    first, second = random.sample(people, 2)
    verb = random.choice(_VERBS[kind])
    a1 = {"social": second, "move": draw.town()}.get(kind) or random.choice(things)
    a2 = second if kind in ("transfer", "receipt") else None
    place = None
    if kind != "move" and random.random() < 0.5:
        place = draw.town() if random.random() < 0.6 else draw.spot()
    time = None
    if random.random() < 0.5:
        time = random.choice([("on", random.choice(lexicon.DAYS)), ("in", random.choice(lexicon.MONTHS))])
    manner = random.choice(lexicon.MANNERS) if random.random() < 0.15 else None
    return Event(kind, verb, first, a1, a2, place, time, manner)


def place_words(place: Entity) -> tuple[str, ...]:
    """`in Port Marsh`, `at the market`."""
    return ("in" if place.kind == "town" else "at", *place.words)


def possible_forms(event: Event, for_tasks: bool) -> list[str]:
    """The forms in which an event can be said; held-out ones in tasks only."""
    forms = ["active", "active", "passive"]
    forms += (
        ["dative"] if event.kind == "transfer" and event.verb[0] in ("give", "send", "lend", "hand", "sell") else []
    )
    forms += ["place_first"] if event.place else []
    forms += ["time_first"] if event.time else []
    if event.negated:
        forms = ["active", "passive"]
    return forms + (["cleft"] if for_tasks and not event.negated else [])


def pieces(event: Event, form: str, pronoun: bool = False) -> list[Piece]:
    """The sentence in pieces, full stop left out.

    Args:
        form: one of `FORMS`.
        pronoun: say she or he instead of the agent's name (where the agent comes first).
    """
    subject = event.a0.words
    if pronoun:
        assert event.a0.pronoun is not None
        subject = (event.a0.pronoun,)
    agent = Piece(subject, "A0", "" if pronoun else event.a0.kind)
    tail = list(_adjuncts(event, form))
    if form == "passive":
        return [*_passive(event), *tail]
    verb = [Piece(("did",)), Piece(("not",), "AM-NEG"), Piece((event.verb[0],), "V")]
    verb = verb if event.negated else [Piece((event.verb[1],), "V")]
    body = _objects(event, form)
    if form == "cleft":
        return [Piece(("It", "was")), agent, Piece(("who",), "R-A0"), *verb, *body, *tail]
    opening = []
    if form == "place_first" and event.place is not None:
        opening = [Piece(place_words(event.place), "AM-LOC", event.place.kind), Piece((",",))]
    if form == "time_first" and event.time is not None:
        opening = [Piece(event.time, "AM-TMP"), Piece((",",))]
    return [*opening, agent, *verb, *body, *tail]


def _objects(event: Event, form: str) -> list[Piece]:
    what = Piece(event.a1.words, "A1", event.a1.kind)
    if event.a2 is None:
        return [what]
    if form == "dative":
        return [Piece(event.a2.words, "A2", event.a2.kind), what]
    return [what, Piece((_link(event), *event.a2.words), "A2", event.a2.kind)]


def _link(event: Event) -> str:
    return "to" if event.kind == "transfer" else "from"


def _passive(event: Event) -> list[Piece]:
    found = [Piece(event.a1.words, "A1", event.a1.kind), Piece(("was",))]
    found += [Piece(("not",), "AM-NEG")] if event.negated else []
    found += [Piece((event.verb[2],), "V")]
    if event.a2 is not None:
        found.append(Piece((_link(event), *event.a2.words), "A2", event.a2.kind))
    return [*found, Piece(("by", *event.a0.words), "A0", event.a0.kind)]


def _adjuncts(event: Event, form: str) -> Iterator[Piece]:
    if event.manner:
        yield Piece((event.manner,), "AM-MNR")
    if event.place is not None and form != "place_first":
        yield Piece(place_words(event.place), "AM-LOC", event.place.kind)
    if event.time is not None and form != "time_first":
        yield Piece(event.time, "AM-TMP")


def written(words: list[str]) -> str:
    """Words as a text: no space before a mark, a capital at the beginning."""
    text = " ".join(words)
    for mark in (".", ",", "?", ":"):
        text = text.replace(f" {mark}", mark)
    return text[:1].upper() + text[1:]


def words_of(sentence: list[Piece], end: str = ".") -> list[str]:
    """All words of a sentence and its end mark."""
    return [word for piece in sentence for word in piece.words] + [end]


def said(event: Event, form: str, pronoun: bool = False) -> str:
    """The sentence as a text."""
    return written(words_of(pieces(event, form, pronoun)))


# Questions -----------------------------------------------------------------------------------------------------------


def yes_no_question(event: Event, random: Random) -> str:
    """`Did Mara Venn give the copper lamp to Tobin Pell?`, or the passive; no place or time in half of them."""
    plain = event if random.random() < 0.5 else replace(event, place=None, time=None)
    plain = replace(plain, manner=None, negated=False)
    if random.random() < 0.3:
        first, was, *rest = _passive(plain)
        return written(words_of([was, first, *rest, *_adjuncts(plain, "passive")], "?"))
    body = [Piece(("did",)), Piece(plain.a0.words), Piece((plain.verb[0],)), *_objects(plain, "active")]
    return written(words_of([*body, *_adjuncts(plain, "active")], "?"))


ASKED = ("a0", "a1", "a2", "place", "time")


def answerable(event: Event) -> list[str]:
    """What can be asked of an event."""
    found = ["a0", "a1"] + (["a2"] if event.a2 is not None else [])
    return found + (["place"] if event.place is not None else []) + (["time"] if event.time is not None else [])


def question(event: Event, asked: str) -> str:
    """`Who gave the copper lamp to Tobin Pell?` and its like."""
    past, lemma = event.verb[1], event.verb[0]
    objects = [word for piece in _objects(event, "active") for word in piece.words]
    a1, a0 = list(event.a1.words), list(event.a0.words)
    end = [] if event.a2 is None else [_link(event), *event.a2.words]
    who = {"person": "who", "town": "which town"}.get(event.a1.kind, "what")
    words = {
        "a0": ["who", past, *objects],
        "a1": [*who.split(), "did", *a0, lemma, *end],
        "a2": ["who", "did", *a0, lemma, *a1, _link(event)],
        "place": ["where", "did", *a0, lemma, *objects],
        "time": ["when", "did", *a0, lemma, *objects],
    }[asked]
    return written([*words, "?"])


def answer(event: Event, asked: str) -> str:
    """The words of the passage that answer; a place without its preposition, a thing without its article."""
    if asked == "time":
        assert event.time is not None
        return event.time[1]
    entity: Entity = getattr(event, asked)
    words = entity.words[1:] if entity.kind in ("thing", "spot") else entity.words
    return " ".join(words)
