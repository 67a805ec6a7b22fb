"""A stream of made-up documents, for tests that need no small world, and settings that finish in moments."""

from collections.abc import Iterator
from random import Random

from scripts.pretraining.settings import Phase, Pretraining

NAMES = ("anna", "ben", "cara", "dov", "ella", "finn", "gita", "hugo")
PLACES = ("oslo", "rome", "lima", "cairo", "perth")


def documents(seed: int) -> Iterator[str]:
    """Two or three sentences about who lives where, and a question with its answer."""
    random = Random(seed)
    while True:
        chosen = random.sample(NAMES, random.choice((2, 3)))
        homes = [random.choice(PLACES) for _ in chosen]
        told = " ".join(f"{name} lives in {home}." for name, home in zip(chosen, homes, strict=True))
        who = random.randrange(len(chosen))
        yield f"{told} where does {chosen[who]} live? {homes[who]}."


def settings(model: str, *phases: Phase, **changed: object) -> Pretraining:
    """Quick ones."""
    quick = {
        "pieces": 300, "tokenizer_documents": 200, "context": 48, "batch_tokens": 512, "pool": 32,
        "evaluate_every": 5, "held_out_documents": 16, "checkpoint_every": 4,
    }  # fmt: skip
    return Pretraining(model=model, phases=list(phases), **(quick | changed))
