"""The files of `conf/experiment` by name, and the papers they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.errors import ConfigError
from repro.sweeps.expand import Planned, Trials


@dataclass(frozen=True)
class Experiment:
    """One file of `conf/experiment`."""

    name: str
    """`<paper>/<exhibit>`"""
    title: str
    """What it reproduces; its name where the file has no title."""
    grids: tuple[Mapping[str, Any], ...]

    @property
    def paper(self) -> str:
        """The folder it is in."""
        return self.name.partition("/")[0]

    def trials(self, given: Mapping[str, str] | None = None, models: Sequence[str] = ()) -> Trials:
        """Its trials; `given` are overrides of the command line."""
        return Trials(self.grids, {"experiment": self.name, **(given or {})}, models)

    def planned(
        self, given: Mapping[str, str] | None = None, models: Sequence[str] = (), points: bool = True
    ) -> list[Planned]:
        """Its trials, composed and keyed; without `points` one trial stands for a search grid.

        Raises:
            ConfigError: as `Trials.planned`.
        """
        return self.trials(given, models).planned(points)


SEARCHES = "override /hydra/sweeper: optuna"
"""A line of the files that are searches: which trials they have is not known before they have run."""


def names(paper: str | None = None) -> list[str]:
    """Every experiment with grids, or a paper's, in the order of their names."""
    from repro.config.compose import options

    found = [name for name in options("experiment") if paper in (None, name.partition("/")[0])]
    return [name for name in found if not is_search(name)]


def is_search(name: str) -> bool:
    """Whether a file of `conf/experiment` is a search by a sampler."""
    from repro.config.compose import config_file

    path = config_file("experiment", name)
    return path.is_file() and SEARCHES in path.read_text(encoding="utf-8")


def load(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        ConfigError: there is none of that name, or it holds no grid.
    """
    import yaml  # type: ignore[import-untyped]

    from repro.config.compose import config_file

    path = config_file("experiment", name)
    if is_search(name):
        raise ConfigError(
            f"experiment={name}: a search proposes its trials one after the other, so they cannot be listed before. "
            f"`repro run -m experiment={name}` runs it, `repro watch experiment={name}` shows it."
        )
    if name not in names():
        raise ConfigError(f"experiment={name}: there is no such file; allowed are {', '.join(names())}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        sweeper = (content.get("hydra") or {}).get("sweeper") or {}
    except (yaml.YAMLError, AttributeError) as error:
        raise ConfigError(f"{path} is no experiment: {error}") from error
    grids = [*(sweeper.get("grids") or []), *([sweeper["params"]] if sweeper.get("params") else [])]
    if not grids:
        raise ConfigError(f"{path} holds no grid: it needs hydra.sweeper.grids or hydra.sweeper.params.")
    return Experiment(name, str(content.get("title") or name), tuple(grids))


def chosen(words: Sequence[str], exhibits: Sequence[str] = ()) -> list[Experiment]:
    """Experiments that are asked for: names, or papers (all their exhibits); then only the named exhibits.

    Raises:
        ConfigError: a word that is neither, or an exhibit that none of them has.
    """
    found: list[str] = []
    for word in words:
        own = names(word)
        if not own and word not in names() and not is_search(word):
            papers = sorted({name.partition("/")[0] for name in names()})
            raise ConfigError(
                f"{word}: neither a paper ({', '.join(papers)}) nor an experiment ({', '.join(names())})."
            )
        found += own or [word]
    missing = [one for one in exhibits if one not in {name.partition("/")[2] for name in found}]
    if missing:
        there = ", ".join(name.partition("/")[2] for name in found)
        raise ConfigError(f"there is no exhibit {', '.join(missing)} among {there}. Choose some of these.")
    kept = [name for name in dict.fromkeys(found) if not exhibits or name.partition("/")[2] in exhibits]
    return [load(name) for name in kept]


def finished(planned: Sequence[Planned], results: Path) -> dict[str, str]:
    """{run key: status} of the planned trials that have a record."""
    from repro.store.store import Store

    store = Store(results / "records")
    records = ((trial.key, store.get(trial.key)) for trial in planned if trial.key)
    return {key: record.status for key, record in records if record is not None and key is not None}
