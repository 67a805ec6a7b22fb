"""Premises and what follows from them, or only seems to (entailment)."""

from __future__ import annotations

from dataclasses import replace

from repro.tasks.microworld.events import Event, draw_event, possible_forms, said
from repro.tasks.microworld.stories import TRIES, Story, falsified, too_like
from repro.tasks.microworld.world import Draw


def conclusion(draw: Draw) -> tuple[str, str, bool]:
    """A premise, a second sentence, and whether that follows.

    What follows: the same said in another form or from the other end, with place and time left out or kept. What does
    not: ends changed, the same denied, or (premise denied) the same affirmed.
    """
    random = draw.random
    people, things = draw.several(draw.person, 3), draw.several(draw.thing, 2)
    event = draw_event(draw, people, things)
    if random.random() < 0.12:
        return _denied(draw, event)
    other = draw_event(draw, people, things)
    form = random.choice(possible_forms(event, draw.for_tasks))
    told = [said(event, form)]
    story = Story((event,), tuple(people), tuple(things), tuple(told))
    if (event.a2 is None or random.random() < 0.5) and not too_like(other, event):
        told.insert(random.randrange(2), said(other, random.choice(possible_forms(other, draw.for_tasks))))
        story = Story((event, other), tuple(people), tuple(things), tuple(told))
    premise = " ".join(told)
    if random.random() < 0.5:
        follows = event.converse() if event.a2 is not None and random.random() < 0.5 else event
        if random.random() < 0.6:
            follows = replace(follows, place=None, time=None, manner=None)
        return premise, said(follows, _another(draw, follows, form)), True
    changed = next(filter(None, (falsified(draw, event, story) for _ in range(TRIES * TRIES))), None)
    if changed is None:  # nothing else could have happened among these
        return conclusion(draw)
    if changed.a2 is not None and random.random() < 0.5:
        changed = changed.converse()
    if random.random() < 0.6:
        changed = replace(changed, place=None, time=None, manner=None)
    return premise, said(changed, _another(draw, changed, form)), False


def _another(draw: Draw, event: Event, form: str) -> str:
    forms = [one for one in possible_forms(event, draw.for_tasks) if one != form]
    return draw.random.choice(forms or ["active"])


def _denied(draw: Draw, event: Event) -> tuple[str, str, bool]:
    """One of the two sentences denies the event: then the other does not follow, unless it denies it too."""
    random = draw.random
    denial = replace(event, negated=True, manner=None)
    first, second = random.choice(((denial, event), (event, denial), (denial, denial), (denial, denial)))
    forms = ["active", "passive"]
    random.shuffle(forms)
    bare = replace(second, place=None, time=None, manner=None) if first.negated == second.negated else second
    if first is denial and second is denial:
        bare = second
    return said(first, forms[0]), said(bare, forms[1]), first.negated == second.negated
