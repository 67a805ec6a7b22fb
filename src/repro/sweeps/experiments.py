"""The files of `conf/experiment` by name, and the papers they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.config.compose import config_file, options
from repro.errors import ConfigError
from repro.sweeps.composing import defaults, experiment_file
from repro.sweeps.expand import Planned, Trials
from repro.sweeps.grids import Grid


@dataclass(frozen=True)
class Experiment:
    """One file of `conf/experiment`."""

    name: str
    """`<paper>/<exhibit>`"""
    title: str
    """What it reproduces; its name where the file has no title."""
    grids: tuple[Grid, ...]

    @property
    def votes(self) -> bool:
        """Whether trials of it that differ in their seed vote as an ensemble."""
        return any(grid.get("ensemble") for grid in self.grids)

    def trials(self, given: Mapping[str, str] | None = None, models: Sequence[str] = ()) -> Trials:
        """Its trials; `given` are overrides of the command line."""
        return Trials(self.grids, {"experiment": self.name, **(given or {})}, models)

    def planned(
        self, given: Mapping[str, str] | None = None, models: Sequence[str] = (), points: bool = True
    ) -> list[Planned]:
        """Its trials, composed and keyed; without `points` one trial stands for a search grid."""
        return self.trials(given, models).planned(points)


def names(paper: str | None = None) -> list[str]:
    """Every experiment with grids, or a paper's, in the order of their names."""
    files = [name for name in options("experiment") if paper in (None, name.partition("/")[0])]
    return [name for name in files if not is_search(name)]


def is_search(name: str) -> bool:
    """Whether a file of `conf/experiment` is a search by a sampler: it has no list of trials before it has run."""
    entries = defaults(experiment_file(name))
    return any(isinstance(entry, dict) and entry.get("override /hydra/sweeper") == "optuna" for entry in entries)


def load(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        ConfigError: there is none of that name, or it holds no grid.
    """
    if is_search(name):
        raise ConfigError(
            f"experiment={name}: a search proposes its trials one after the other, so they cannot be listed before. "
            f"`repro run -m experiment={name}` runs it, `repro watch experiment={name}` shows it."
        )
    if name not in names():
        raise ConfigError(f"experiment={name}: there is no such file; allowed are {', '.join(names())}.")
    content = node = experiment_file(name)
    for key in ("hydra", "sweeper"):
        inner = node.get(key)
        node = inner if isinstance(inner, dict) else {}
    listed, params = node.get("grids"), node.get("params")
    grids = [*(listed if isinstance(listed, list) else []), *([params] if params else [])]
    if not grids or not all(isinstance(grid, dict) for grid in grids):
        path = config_file("experiment", name)
        raise ConfigError(
            f"{path} holds no grid: it needs hydra.sweeper.grids, a list of groups {{key: values}}, or "
            "hydra.sweeper.params, one such group."
        )
    return Experiment(name, str(content.get("title") or name), tuple(grids))


def chosen(words: Sequence[str], exhibits: Sequence[str] = ()) -> list[Experiment]:
    """Experiments that are asked for: names, or papers (all their exhibits); then only the named exhibits.

    Raises:
        ConfigError: a word that is neither, or an exhibit that none of them has.
    """
    known = names()
    chosen: list[str] = []
    for word in words:
        of_paper = [name for name in known if name.partition("/")[0] == word]
        if not of_paper and word not in known and not is_search(word):
            papers = sorted({name.partition("/")[0] for name in known})
            raise ConfigError(f"{word}: neither a paper ({', '.join(papers)}) nor an experiment ({', '.join(known)}).")
        chosen += of_paper or [word]
    missing = [exhibit for exhibit in exhibits if exhibit not in {name.partition("/")[2] for name in chosen}]
    if missing:
        there = ", ".join(name.partition("/")[2] for name in chosen)
        raise ConfigError(f"there is no exhibit {', '.join(missing)} among {there}. Choose some of these.")
    kept = [name for name in dict.fromkeys(chosen) if not exhibits or name.partition("/")[2] in exhibits]
    return [load(name) for name in kept]
