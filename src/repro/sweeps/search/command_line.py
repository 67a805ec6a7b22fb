"""A search from the words of a multirun and the sweeper's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repro.config.conversion import from_plain
from repro.config.rules import check_values
from repro.config.schema import TrialConfig
from repro.errors import ConfigError
from repro.methods.fields import setting
from repro.metrics.registry import build_metric
from repro.store.lock import Lock
from repro.store.searches import journal
from repro.store.searches.journal import Sampler, Search
from repro.store.searches.outcomes import check_split, direction
from repro.sweeps.executors.base import Executor
from repro.sweeps.search import space
from repro.sweeps.search.running import Compose, SearchRun

PREFIX = "hydra.sweeper."


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The keys of `conf/hydra/sweeper/optuna.yaml`, which says what each means."""

    space: dict[str, object] = setting(factory=dict)
    n_trials: int = setting(20, at_least=1)
    batch: int = setting(1, at_least=1)
    sampler: Sampler = setting(factory=Sampler)
    seeds: list[int] = setting(factory=list)
    name: str | None = None
    direction: str | None = setting(None, allowed=("maximize", "minimize"))

    @classmethod
    def of(cls, values: Mapping[str, object]) -> SearchSettings:
        """Settings from plain values.

        Raises:
            ConfigError: a key that does not exist, or a value that is not allowed.
        """
        made = from_plain(cls, values, {}, PREFIX)
        check_values(made, PREFIX)
        return made


def split_words(arguments: Sequence[str], texts: Mapping[str, object]) -> tuple[list[space.Dimension], list[str]]:
    """Dimensions and fixed overrides of a command line and of the experiment's space; the command line wins."""
    given: dict[str, str] = {}
    fixed: list[str] = []
    for word in arguments:
        name, equals, text = word.partition("=")
        if equals and name and name[0] not in "+~":
            given[name] = text
        else:
            fixed.append(word)
    dimensions, values = space.of({**texts, **given})
    dimensions.sort(key=lambda dimension: dimension.name)  # a sampler draws them one after the other
    return dimensions, [*fixed, *(f"{name}={value}" for name, value in values.items())]


def first_words(dimensions: Sequence[space.Dimension], fixed: Sequence[str]) -> list[str]:
    """Some setting of the space: what can be said before anything is proposed is looked up in it."""
    return [*fixed, *(f"{one.name}={one.choices[0] if one.choices else one.shown(_low(one))}" for one in dimensions)]


def _low(one: space.Dimension) -> float | int:
    return int(one.low) if one.whole else one.low


@contextmanager
def searching(
    words: Sequence[str], settings: SearchSettings, compose: Compose, executor: Executor
) -> Iterator[SearchRun]:
    """The search that a command means, begun or continued; locked against other processes.

    Args:
        words: overrides of the multirun.
        compose, executor: see `SearchRun`.

    Raises:
        ConfigError: what cannot be searched, or a search that another process runs.
    """
    dimensions, fixed = split_words(words, settings.space)
    if not dimensions:
        raise ConfigError(
            "there is no search space: give hydra.sweeper.space in the experiment, or overrides such as "
            "'trainer.optimiser.learning_rate=tag(log, interval(1e-5,1e-2))' on the command line."
        )
    if settings.seeds and any(word.startswith("seed=") for word in fixed):
        raise ConfigError("seed= and hydra.sweeper.seeds are both given: leave one of them out.")
    config = compose(first_words(dimensions, fixed)).config
    check_split(config.trainer.selection.split)
    wanted = _search(config, settings, dimensions, fixed)
    lock = Lock(Path(config.paths.runs_root) / journal.FOLDER / f"{wanted.id}.lock")
    if not lock.acquire(wait=False):
        raise ConfigError(f"search {wanted.id}: another process runs it. Wait for it, or raise hydra.sweeper.batch.")
    try:
        results = Path(config.paths.results_root)
        search = journal.begun(wanted, results)
        yield SearchRun(search, dimensions, fixed, results, compose, executor, settings.batch)
    finally:
        lock.release()


def _search(
    config: TrialConfig,
    settings: SearchSettings,
    dimensions: Sequence[space.Dimension],
    fixed: Sequence[str],
) -> Search:
    """The search as it is wanted, before its file is looked for."""
    metric = _metric(config)
    way = settings.direction or direction([*config.task.metrics, *config.task.also_metrics], metric)
    if way is None:
        raise ConfigError(
            f"hydra.sweeper.direction=null: set it to maximize or minimize, since it is not known "
            f"which of two values of {metric} is the better."
        )
    return Search(
        name=str(settings.name or config.experiment_name or "search"),
        experiment=config.experiment_name,
        fixed=journal.lasting(fixed),
        space={dimension.name: dimension.text for dimension in dimensions},
        sampler=settings.sampler,
        seeds=settings.seeds,
        direction=way,
        metric=metric,
        budget=settings.n_trials,
    )


def _metric(config: TrialConfig) -> str:
    """The name of the value that selects checkpoints."""
    if config.trainer.selection.metric:
        return config.trainer.selection.metric
    metrics = config.task.metrics
    return str(build_metric(metrics[0]).outputs[0]) if metrics else "loss"
