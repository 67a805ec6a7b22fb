"""A search from the words of a multirun and the sweeper's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repro.errors import ConfigError
from repro.store.lock import Lock
from repro.store.searches import journal
from repro.store.searches.journal import Sampler, Search
from repro.store.searches.outcomes import check_split, direction
from repro.sweeps.search import space
from repro.sweeps.search.proposals import check
from repro.sweeps.search.running import Compose, Launch, Run


def split_words(arguments: Sequence[str], texts: Mapping[str, Any]) -> tuple[list[space.Dimension], list[str]]:
    """Dimensions and fixed overrides of a command line and of the experiment's space; the command line wins.

    Raises:
        ConfigError: as `space.dimension`.
    """
    given: dict[str, str] = {}
    fixed: list[str] = []
    for word in arguments:
        name, equals, text = word.partition("=")
        if equals and name and name[0] not in "+~":
            given[name] = text
        else:
            fixed.append(word)
    dimensions, values = space.of({**texts, **given})
    dimensions.sort(key=lambda one: one.name)  # a sampler draws them one after the other
    return dimensions, [*fixed, *(f"{name}={value}" for name, value in values.items())]


def first_words(dimensions: Sequence[space.Dimension], fixed: Sequence[str]) -> list[str]:
    """Some setting of the space: what can be said before anything is proposed is looked up in it."""
    return [*fixed, *(f"{one.name}={one.choices[0] if one.choices else one.shown(_low(one))}" for one in dimensions)]


def _low(one: space.Dimension) -> float | int:
    return int(one.low) if one.whole else one.low


@contextmanager
def searching(
    arguments: Sequence[str],
    texts: Mapping[str, Any],
    about: Mapping[str, Any],
    sampler: Mapping[str, Any],
    budget_and_batch: tuple[int, int],
    compose: Compose,
    launch: Launch,
    waits: bool,
) -> Iterator[tuple[Search, Run]]:
    """The search that a command means, begun or continued, held against other processes.

    Args:
        arguments: overrides of the multirun.
        texts: the experiment's space.
        about: name, direction and seeds as the sweeper has them.
        sampler: the fields of `Sampler`.
        budget_and_batch: settings in all, and at a time.
        compose, launch, waits: see `Run`.

    Raises:
        ConfigError: what cannot be searched, or a search that another process runs.
    """
    budget, batch = budget_and_batch
    try:
        chosen = Sampler(**sampler)
    except TypeError as error:
        raise ConfigError(f"hydra.sweeper.sampler: {error}. It has name, seed and startup.") from error
    dimensions, fixed = split_words(arguments, texts)
    check(chosen, dimensions, budget, batch)
    seeds = list(about["seeds"])
    if seeds and any(word.startswith("seed=") for word in fixed):
        raise ConfigError("seed= and hydra.sweeper.seeds are both given: leave one of them out.")
    plain = compose(first_words(dimensions, fixed))
    check_split(plain["trainer"]["selection"]["split"])
    metric = _metric(plain)
    way = about["direction"] or direction(
        [*plain["task"]["metrics"], *(plain["task"].get("also_metrics") or ())], metric
    )
    if way not in ("maximize", "minimize"):
        raise ConfigError(
            f"hydra.sweeper.direction={about['direction']}: set it to maximize or minimize, since it is not known "
            f"which of two values of {metric} is the better."
        )
    name = str(about["name"] or plain["experiment_name"] or "search")
    texts_of = {one.name: one.text for one in dimensions}
    lasting = journal.lasting(fixed)
    wanted = Search(name, plain["experiment_name"], lasting, texts_of, chosen, seeds, way, metric, budget)
    results = Path(plain["paths"]["results_root"])
    lock = Lock(Path(plain["paths"]["runs_root"]) / journal.FOLDER / f"{wanted.id}.lock")
    if not lock.acquire(wait=False):
        raise ConfigError(f"search {wanted.id}: another process runs it. Wait for it, or raise hydra.sweeper.batch.")
    try:
        search = journal.begun(wanted, results)
        yield search, Run(search, dimensions, fixed, results, compose, launch, batch, waits)
    finally:
        lock.release()


def _metric(plain: Mapping[str, Any]) -> str:
    """The name of the value that selects checkpoints, as the runner takes it."""
    from repro.metrics.building import build_metric

    wanted = plain["trainer"]["selection"]["metric"]
    if wanted:
        return str(wanted)
    metrics = plain["task"]["metrics"]
    return str(build_metric(metrics[0]).outputs[0]) if metrics else "loss"
