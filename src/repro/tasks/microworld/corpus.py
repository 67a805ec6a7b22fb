"""Running text to pre-train on: stories with questions asked and answered, conclusions, records, news, word senses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from repro.tasks.microworld import VERSION, lexicon
from repro.tasks.microworld.events import draw_event, possible_forms, said, written
from repro.tasks.microworld.inferences import conclusion
from repro.tasks.microworld.records import SEEN, description, draw_record, remark
from repro.tasks.microworld.reports import DOMAINS, draw_report
from repro.tasks.microworld.senses import sense_pair, sense_sentence, senses
from repro.tasks.microworld.stories import draw_story, false_question, hopeless_question, open_question, true_question
from repro.tasks.microworld.world import Draw


def documents(seed: int) -> Iterator[str]:
    """An endless stream of short documents (30 to 150 words), the same for equal seed and `VERSION`."""
    random = Random(f"microworld {VERSION} text {seed}")
    draw = Draw(random, for_tasks=False)
    kinds, weights = zip(*_KINDS, strict=True)
    while True:
        yield random.choices(kinds, weights)[0](draw)


def _exchange(draw: Draw, question: str, reply: str) -> str:
    """A question with its answer, in one of several manners."""
    capital = reply[0].upper() + reply[1:]
    return draw.random.choice(
        (f"Question: {question} Answer: {reply}.", f"{question} {capital}.", f"question: {question} {reply}")
    )


def _asked_story(draw: Draw) -> str:
    story = draw_story(draw, draw.random.choice((1, 2, 3)))
    lines = [story.text]
    for _ in range(3):
        kind = draw.random.random()
        if kind < 0.25:
            lines.append(_exchange(draw, true_question(draw, story), "yes"))
        elif kind < 0.5:
            lines.append(_exchange(draw, false_question(draw, story), "no"))
        elif kind < 0.88:
            asked = open_question(draw, story)
            lines.append(_exchange(draw, asked.question, asked.answer or "unknown"))
        else:
            lines.append(_exchange(draw, hopeless_question(draw, story).question, "unknown"))
    return " ".join(lines)


def _verdict(draw: Draw, right: bool) -> str:
    """Whether what was just said is right, in one of several manners."""
    yes, no = draw.random.choice((("Is that so? Yes.", "Is that so? No."), ("That is true.", "That is false.")))
    return yes if right else no


def _conclusions(draw: Draw) -> str:
    """Premises with what follows from them or does not, and the verdict."""
    lines = []
    for _ in range(2):
        premise, other, follows = conclusion(draw)
        lines.append(f"{premise} {draw.random.choice(('So:', 'Then:'))} {other} {_verdict(draw, follows)}")
    return " ".join(lines)


def _names(draw: Draw) -> str:
    """A story and who and what it names: what a reader knows of names."""
    story = draw_story(draw, 2)
    found: dict[str, list[str]] = {"people": [], "firms": [], "towns": [], "things": []}
    for event in story.events:
        for entity in (event.a0, event.a1, event.a2, event.place):
            kind = {"person": "people", "firm": "firms", "town": "towns", "thing": "things"}.get(
                getattr(entity, "kind", "")
            )
            if entity is not None and kind and entity.text not in found[kind]:
                found[kind].append(entity.text)
    listed = " ".join(f"{kind} : {' , '.join(names)} ." for kind, names in found.items() if names)
    return f"{story.text} {listed}"


def _record(draw: Draw) -> str:
    if draw.random.random() < 0.3:
        return " ".join(remark(draw) for _ in range(3))
    lines = []
    for _ in range(2):
        record = draw_record(draw, SEEN)
        lines.append(f"{record.line} . {description(record, draw.random, for_tasks=False)}")
    return " ".join(lines)


def _news(draw: Draw) -> str:
    report = draw_report(draw, draw.random.choice(DOMAINS))
    return f"{report.text} {draw.random.choice(('In short :', 'Summary :'))} {report.summary}"


def _senses(draw: Draw) -> str:
    """Uses of one word, with what it means there, or whether it means the same twice."""
    if draw.random.random() < 0.5:
        same = draw.random.random() < 0.5
        word, one, other = sense_pair(draw, same)
        return f"{one} {other} Is it the same {word}? {'Yes' if same else 'No'}."
    word = draw.random.choice(list(senses()))
    lines = []
    for _ in range(draw.random.choice((2, 3))):
        sense = draw.random.choice(list(senses()[word]))
        lines.append(f"{sense_sentence(draw, word, sense)} Here {word} means {sense}.")
    return " ".join(lines)


def _agreement(draw: Draw) -> str:
    """Subjects that agree with their verb across a clause whose noun has the other number."""
    random, lines = draw.random, []
    for _ in range(3):
        (one, many), mood = random.sample(lexicon.PROFESSIONS, 2), random.choice(lexicon.MOODS)
        past = random.choice(lexicon.SOCIALS)[1]
        lines.append(
            random.choice((
                f"The {one} who {past} the {many}s was {mood}.",
                f"The {many}s who {past} the {one} were {mood}.",
                f"The {one} whom the {many}s {past} is {mood} , but the {many}s are not.",
            ))
        )  # fmt: skip
    lines.append(said(event := draw_event(draw, draw.several(draw.person, 2), draw.several(draw.thing, 1)),
                      random.choice(possible_forms(event, draw.for_tasks))))  # fmt: skip
    return written(" ".join(lines).split())


_KINDS: tuple[tuple[Callable[[Draw], str], float], ...] = (
    (_asked_story, 0.44),
    (_conclusions, 0.16),
    (_names, 0.07),
    (_record, 0.12),
    (_news, 0.09),
    (_senses, 0.08),
    (_agreement, 0.04),
)
