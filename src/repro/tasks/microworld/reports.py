"""News of the town and of contests, and the one sentence that says what matters (summaries with two domains)."""

from __future__ import annotations

from dataclasses import dataclass

from repro.tasks.microworld import lexicon
from repro.tasks.microworld.world import Draw

DOMAINS = ("town", "contest")


@dataclass(frozen=True)
class Report:
    """A few sentences of news, and their summary."""

    text: str
    summary: str


def draw_report(draw: Draw, domain: str) -> Report:
    """A report of a domain; its main event stands in the first or the second sentence, among details."""
    lead, details, summary = {"town": _town, "contest": _contest}[domain](draw)
    random = draw.random
    chosen = random.sample(details, random.choice((2, 3)))
    sentences = [chosen[0], lead, *chosen[1:]] if random.random() < 0.3 else [lead, *chosen]
    return Report(" ".join(sentences), summary)


def _town(draw: Draw) -> tuple[str, list[str], str]:
    random = draw.random
    firm, town, person, day = draw.firm().text, draw.town().text, draw.person(), random.choice(lexicon.DAYS)
    number, job = random.choice(lexicon.NUMBERS), random.choice(lexicon.PROFESSIONS)
    thing, spot = random.choice(lexicon.THINGS), random.choice(lexicon.SPOTS)
    capital = firm[0].upper() + firm[1:]
    lead, summary = random.choice((
        (f"On {day} {firm} said that it has hired {number} {job}s for its house in {town}.",
         f"{capital} hires {number} {job}s in {town}."),
        (f"{capital}, which sells {thing}s, will open a shop near the {spot} of {town} on {day}.",
         f"{capital} opens a shop in {town}."),
        (f"The old {spot} of {town} was bought by {firm} on {day} after a long talk.",
         f"{capital} buys the {spot} of {town}."),
        (f"{person.text}, who has led {firm} for {number} years, leaves it on {day}.",
         f"{person.text} leaves {firm}."),
        (f"A fire broke out on {day} in the {spot} of {town} and burned {number} {thing}s.",
         f"Fire burns the {spot} of {town}."),
    ))  # fmt: skip
    other = draw.person().text
    details = [
        f"{other} said that many people had waited for it.",
        f"The {random.choice(lexicon.PROFESSIONS)}s of the town were {random.choice(lexicon.MOODS)}.",
        f"It took {random.choice(lexicon.NUMBERS)} days to find a {random.choice(lexicon.ADJECTIVES)} "
        f"{random.choice(lexicon.THINGS)}.",
        f"Rain fell all {random.choice(('morning', 'evening'))}.",
        f"Nobody knows what {random.choice(('comes next', 'it will cost', 'the others think'))}.",
    ]
    return lead, details, summary


def _contest(draw: Draw) -> tuple[str, list[str], str]:
    random = draw.random
    town, day = draw.town().text, random.choice(lexicon.DAYS)
    winner, second, third = draw.several(draw.person, 3)
    game = random.choice(["race", "boat race", "wrestling", "archery", "dance", "chess", "singing"])
    number = random.choice(lexicon.NUMBERS)
    lead, summary = random.choice((
        (f"On {day} {winner.text} won the {game} contest in {town} before {second.text}.",
         f"{winner.text} wins the {game} contest in {town}."),
        (f"{winner.text} beat {second.text} by {number} points in the {game} contest of {town}.",
         f"{winner.text} beats {second.text} in {town}."),
        (f"The {game} contest of {town} was called off on {day} because only {number} came.",
         f"{town} calls off the {game} contest."),
        (f"{winner.text}, who won {number} times, will not be in the {game} contest of {town}.",
         f"{winner.text} misses the {game} contest in {town}."),
    ))  # fmt: skip
    details = [
        f"{third.text} was third.",
        f"The crowd was {random.choice(lexicon.MOODS)}.",
        f"{second.text} had a {random.choice(lexicon.ADJECTIVES)} {random.choice(lexicon.THINGS)} with "
        f"{ {'she': 'her', 'he': 'him'}[second.pronoun or 'she'] }.",
        f"The next contest is in {random.choice(lexicon.MONTHS)}.",
        "The wind was strong.",
    ]  # fmt: skip
    return lead, details, summary
