"""The trials of an experiment: composed, keyed, each once, in the stages in which they can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from repro.config.rules import validate
from repro.errors import ConfigError
from repro.sweeps import grids
from repro.sweeps.composing import Overrides, arguments, composed, spec_of
from repro.sweeps.grids import Grid
from repro.trials.spec import TrialSpec

PROMPT = "prompt.safetensors"
"""What a finished trial leaves in its run folder."""


@dataclass(frozen=True)
class Planned:
    """One trial of an experiment."""

    spec: TrialSpec
    words: tuple[str, ...]
    """Its overrides, the experiment's name and folders included."""
    waits_for: str | None = None
    """Run key of the trial whose prompt it starts from, while that is not trained: its own key is not known yet."""
    search: bool = False
    """A point of a search grid: nobody published the hyperparameters."""
    start_task: str | None = None
    """The task of the trial that it waits for."""

    @property
    def key(self) -> str | None:
        """Run key; None while it is not known."""
        return None if self.waits_for else self.spec.key


class Trials:
    """The trials of some grids, narrowed by the command line and by models.

    Args:
        of: the grids.
        given: overrides that replace the grids' own (an experiment's name among them).
        models: see `grids.kept`.
    """

    def __init__(self, of: Sequence[Grid], given: Mapping[str, str], models: Sequence[str] = ()):
        self._grids, self.given, self._models = list(of), dict(given), list(models)

    def stages(self) -> Iterator[Callable[[], list[Overrides]]]:
        """First the trials that start from nothing, then those that start from theirs, each when it is asked for."""
        yield self._first
        if any("after" in grid for grid in self._grids):
            yield self._second

    def _expanded(self, grid: Grid, points: bool = True) -> Iterator[tuple[Overrides, bool]]:
        """A grid's trials and whether they are points of a search (without `points` one trial stands for a search)."""
        for trial in grids.product(grid, self.given):
            name = trial.get("model") or composed(trial).model.name if self._models else ""
            if not grids.kept(name, self._models):
                continue
            search = composed(trial).recipe.search if grid.get("search") else {}
            for point in grids.searched(trial, search) if search and points else [trial]:
                yield point, bool(search)

    def _first(self) -> list[Overrides]:
        return _once([before or trial for trial, before, _ in self._pairs()])

    def _second(self) -> list[Overrides]:
        trials = []
        for trial, before, _ in self._pairs():
            if before is None:
                continue
            path = spec_of(before).folder / PROMPT
            if not path.is_file():
                raise ConfigError(
                    f"{path}: the prompt that {' '.join(arguments(trial))} starts from is not there. Its trial did "
                    f"not end: repro run {' '.join(arguments(before))}."
                )
            trials.append(_started(trial, before, str(path)))
        return _once(trials)

    def _pairs(self, points: bool = True) -> Iterator[tuple[Overrides, Overrides | None, bool]]:
        """Every trial, the first stage's trial whose prompt it starts from, whether it is a point of a search."""
        folders = {key: value for key, value in self.given.items() if key.startswith("paths.")}
        for grid in self._grids:
            for trial, search in self._expanded(grid, points):
                before = grids.earlier(grid, trial)
                yield trial, None if before is None else before | folders, search

    def planned(self, points: bool = True) -> list[Planned]:
        """Every trial once, by its key; a trial that waits for another has none yet.

        Args:
            points: every point of a search grid; False: one trial for each search.

        Raises:
            ConfigError: a trial that cannot run, or a grid that cannot be read.
        """
        trials: dict[tuple[str, str], Planned] = {}

        def add(trial: Overrides, search: bool, waits_for: str | None = None, start_task: str | None = None) -> None:
            planned = Planned(valid_spec(trial), tuple(arguments(trial)), waits_for, search, start_task)
            trials.setdefault((planned.spec.key, waits_for or ""), planned)

        for trial, before, search in self._pairs(points):
            if before is None:
                add(trial, search)
                continue
            add(before, False)
            path = spec_of(before).folder / PROMPT
            if path.is_file():
                add(_started(trial, before, str(path)), search)
            else:
                add(trial, search, path.parent.name, before["task"])
        return list(trials.values())


def valid_spec(trial: Overrides) -> TrialSpec:
    """A trial that can run.

    Raises:
        ConfigError: it cannot; names it.
    """
    try:
        spec = spec_of(trial)
        validate(spec.config)
    except ConfigError as error:
        raise ConfigError(f"{' '.join(arguments(trial))}: {error}") from error
    return spec


def _started(trial: Overrides, before: Mapping[str, str], path: str) -> Overrides:
    """A trial that starts from the prompt of an earlier one."""
    return trial | {"method.start_from": path, "method.start_task": before["task"]}


def _once(trials: Sequence[Overrides]) -> list[Overrides]:
    return list({tuple(sorted(trial.items())): trial for trial in trials}.values())
