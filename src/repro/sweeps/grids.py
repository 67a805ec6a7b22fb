"""A grid as a file of `conf/experiment` writes it, expanded to the trials that it means.

An exhibit is seldom one product of lists: Figure 1 of Lester et al. has prompt tuning on one family of checkpoints and
model tuning on another. So an experiment lists several grids under `hydra.sweeper.grids`, each a product of its own:

    hydra:
      sweeper:
        grids:
          - {method: prompt_tuning, model: "t5-small-lm-adapt,t5-base-lm-adapt", task: "rte,cb", seed: "1,2,3"}
          - {method: fine_tuning, model: t5-v1_1-small, task: "rte,cb", seed: "1,2,3"}

Three keys of a grid are ours, not overrides: `after`, the overrides of a trial whose prompt each trial of this grid
starts from (`{model}` stands for the trial's own choice); `search`, true where the recipe's search grid is run because
nobody published the hyperparameters; `ensemble`, true where trials that differ in their seed vote when they are done.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from repro.errors import ConfigError
from repro.sweeps.composing import Overrides

OURS = ("after", "search", "ensemble")
"""Keys of a grid that are no overrides."""

Grid = Mapping[str, object]


def values(text: object) -> list[str]:
    """What a sweep's text stands for: `1,2`, `range(3)`, a single value.

    Raises:
        ConfigError: Hydra cannot read it.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        [override] = OverridesParser.create().parse_overrides([f"key={_text(text)}"])
    except HydraException as error:
        raise ConfigError(f"a grid holds {text!r}, which is no value of a sweep: {error}") from error
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    return [str(override.get_value_element_as_str())]


def _text(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def product(grid: Grid, given: Mapping[str, str] | None = None) -> list[Overrides]:
    """Every combination of a grid's values; `given` (the command line) replaces the grid's own values.

    Raises:
        ConfigError: a value that Hydra cannot read.
    """
    merged = {key: value for key, value in grid.items() if key not in OURS} | dict(given or {})
    lists = [[(key, value) for value in values(text)] for key, text in merged.items()]
    return [dict(combination) for combination in itertools.product(*lists)]


def earlier(grid: Grid, trial: Mapping[str, str]) -> Overrides | None:
    """The trial whose prompt `trial` starts from, or None.

    Raises:
        ConfigError: `after` names a choice that the trial does not make.
    """
    after = grid.get("after")
    if not isinstance(after, Mapping):
        return None
    choices = {name.replace(".", "_"): value for name, value in trial.items()}
    try:
        return {str(key): _text(text).format(**choices) for key, text in after.items()}
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(f"`after` of a grid is {dict(after)}: {error} is no choice of its trials.") from error


def searched(trial: Mapping[str, str], search: Mapping[str, Sequence[object]]) -> list[Overrides]:
    """The trial once for every point of a recipe's search grid."""
    lists = [[(key, _text(value)) for value in points] for key, points in search.items()]
    return [{**trial, **dict(point)} for point in itertools.product(*lists)]


def of_command_line(overrides: Iterable[str]) -> Overrides:
    """`key=value` words as a grid has them.

    Raises:
        ConfigError: a word that is no plain override (`+key=value` and `~key` cannot narrow a grid).
    """
    result: Overrides = {}
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals or not key or key[0] in "+~-":
            raise ConfigError(f"{word}: an experiment's grids take plain overrides, key=value.")
        result[key] = value
    return result


def names_and_overrides(words: Iterable[str]) -> tuple[list[str], Overrides]:
    """Names of experiments (`experiment=NAME` too), papers or folders, and the overrides that narrow them."""
    plain = [word.removeprefix("experiment=") for word in words]
    return [word for word in plain if "=" not in word], of_command_line(word for word in plain if "=" in word)


def kept(model: str, words: Sequence[str]) -> bool:
    """Whether one of the words is in a model's name (`small` in t5-small-lm-adapt), or there are no words."""
    return not words or any(word == model or word in model.split("-") for word in words)
