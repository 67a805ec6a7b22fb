"""Passages of a few events among the same people, and questions whose wrong answers stand in the passage too."""

from __future__ import annotations

from dataclasses import dataclass, replace

from repro.tasks.microworld.events import (
    TASK_FORMS,
    Event,
    answer,
    answerable,
    draw_event,
    possible_forms,
    said,
    yes_no_question,
)
from repro.tasks.microworld.events import question as asked_of
from repro.tasks.microworld.world import Draw, Entity

PRONOUN_SHARE = 0.5
"""How often a sentence that goes on about the same agent says she or he."""
CONVERSE_SHARE = 0.2
"""How often a question about a transfer is asked from its other end, be it true or false."""
TRIES = 50
"""Draws after which a story is taken not to have what is wanted (where choices are nested: its square)."""


@dataclass(frozen=True)
class Story:
    """Events in order, with the passage that tells them."""

    events: tuple[Event, ...]
    people: tuple[Entity, ...]
    things: tuple[Entity, ...]
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The passage."""
        return " ".join(self.sentences)


def draw_story(draw: Draw, number: int) -> Story:
    """`number` events among three people (one of them a firm at times) and three things, no two with one core."""
    random = draw.random
    people = draw.several(draw.person, 3)
    if random.random() < 0.3:
        people[2] = draw.firm()
    things = draw.several(draw.thing, 3)
    events: list[Event] = []
    while len(events) < number:
        made = draw_event(draw, people, things)
        if events and random.random() < 0.4:  # the same verb again: only its roles tell the two apart
            made = draw_event(draw, people, things, events[0].kind)
            made = replace(made, verb=events[0].verb)
        if not any(too_like(made, other) for other in events):
            events.append(made)
    return Story(tuple(events), tuple(people), tuple(things), _told(draw, events))


def too_like(made: Event, other: Event) -> bool:
    """One happening twice, or the same done to the same thing by another: no false question would be left."""
    return made.core == other.core or (made.a2 is None and (made.verb, made.a1) == (other.verb, other.a1))


def _told(draw: Draw, events: list[Event]) -> tuple[str, ...]:
    random, sentences, last = draw.random, [], None
    for event in events:
        form = random.choice(possible_forms(event, draw.for_tasks))
        same = event.a0 == last and event.a0.pronoun is not None and form not in ("passive", *TASK_FORMS)
        sentences.append(said(event, form, pronoun=same and random.random() < PRONOUN_SHARE))
        last = event.a0 if form != "passive" else None
    return tuple(sentences)


def true_question(draw: Draw, story: Story) -> str:
    """A yes/no question whose answer is yes; now and then from the other end of the happening."""
    event = draw.random.choice(story.events)
    if event.a2 is not None and draw.random.random() < CONVERSE_SHARE:
        event = event.converse()
    return yes_no_question(event, draw.random)


def false_question(draw: Draw, story: Story) -> str:
    """A yes/no question whose answer is no, of words of the passage: roles changed, or another's person or thing."""
    for _ in range(TRIES * TRIES):
        changed = falsified(draw, draw.random.choice(story.events), story)
        if changed is not None:
            if changed.a2 is not None and draw.random.random() < CONVERSE_SHARE:
                changed = changed.converse()
            return yes_no_question(changed, draw.random)
    return yes_no_question(replace(story.events[0], a0=draw.person()), draw.random)  # a story in which all did the same


def falsified(draw: Draw, event: Event, story: Story) -> Event | None:
    """A changed event that did not happen in the story; None where the change drawn gives none."""
    random = draw.random
    change = random.choice(("swap", "swap", "a0", "a1", "a2"))
    if change == "swap" and (event.a2 is not None or event.kind == "social"):
        if event.a2 is None:
            changed = replace(event, a0=event.a1, a1=event.a0)
        else:
            changed = replace(event, a0=event.a2, a2=event.a0)
    elif change == "a0":
        others = [one for one in story.people if one not in (event.a0, event.a1, event.a2)]
        named = [one for one in others if any(one in (e.a0, e.a1, e.a2) for e in story.events)]
        changed = replace(event, a0=random.choice(named or others))
    elif change == "a1" and event.a1 in story.things:
        told = [other.a1 for other in story.events if other.a1 in story.things and other.a1 != event.a1]
        if not told:
            return None
        changed = replace(event, a1=random.choice(told))
    elif change == "a2" and event.a2 is not None:
        others = [one for one in story.people if one not in (event.a0, event.a2)]
        named = [one for one in others if any(one in (e.a0, e.a1, e.a2) for e in story.events)]
        changed = replace(event, a2=random.choice(named or others))
    else:
        return None
    ends = (changed.a0, changed.a1, changed.a2)
    if len({one for one in ends if one is not None}) < sum(one is not None for one in ends):
        return None
    if any(changed.core == other.core for other in story.events):
        return None
    return changed


@dataclass(frozen=True)
class Asked:
    """A question with a place of the passage that answers it; without, it has no answer there."""

    question: str
    answer: str | None
    start: int | None


def open_question(draw: Draw, story: Story) -> Asked:
    """Who, what, where or when, of an event that no other of the story can be taken for.

    A rare story has no such event: then it is a question that the passage does not answer.
    """
    for _ in range(TRIES * TRIES):
        number = draw.random.randrange(len(story.events))
        event = story.events[number]
        asked = draw.random.choice(answerable(event))
        text = answer(event, asked)
        before = sum(len(sentence) + 1 for sentence in story.sentences[:number])
        start = story.sentences[number].find(text)
        if start >= 0 and _only(event, asked, story):
            return Asked(asked_of(event, asked), text, before + start)
    return hopeless_question(draw, story)


def _only(event: Event, asked: str, story: Story) -> bool:
    """Whether the question fits no other event of the story."""

    def rest(one: Event) -> tuple[object, ...]:
        verb = one.verb[0]
        return (verb, *(getattr(one, end) for end in ("a0", "a1", "a2") if end != asked))

    both = [other for other in story.events if other is not event]
    both += [other.converse() for other in both if other.a2 is not None]
    return all(rest(other) != rest(event) for other in both)


def hopeless_question(draw: Draw, story: Story) -> Asked:
    """A question that the passage does not answer, about its people and things.

    Where all of them did the same, none of these is without an answer: then it is about somebody else.
    """
    for _ in range(TRIES):
        event = draw.random.choice(story.events)
        if draw.random.random() < 0.4:
            missing = [end for end in ("place", "time") if getattr(event, end) is None and event.kind != "move"]
            if missing and not any(e is not event and e.verb == event.verb and e.a1 == event.a1 for e in story.events):
                shown = replace(event, place=event.place or draw.spot(), time=event.time or ("on", "Monday"))
                return Asked(asked_of(shown, draw.random.choice(missing)), None, None)
            continue
        changed = falsified(draw, event, story)
        if changed is None:
            continue
        asked = draw.random.choice([end for end in answerable(changed) if end != "place" and end != "time"])
        if _unanswered(changed, asked, story):
            return Asked(asked_of(changed, asked), None, None)
    event = draw.random.choice(story.events)
    return Asked(asked_of(replace(event, a0=draw.person()), "a1"), None, None)


def _unanswered(changed: Event, asked: str, story: Story) -> bool:
    known = [*story.events, *(event.converse() for event in story.events if event.a2 is not None)]
    ends = [end for end in ("a0", "a1", "a2") if end != asked]
    return not any(
        other.verb[0] == changed.verb[0] and all(getattr(other, end) == getattr(changed, end) for end in ends)
        for other in known
    )
