"""A search space, written as Hydra writes sweeps: `choice(a,b)`, `range(8,64,8)`, `tag(log, interval(1e-5, 1e-2))`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repro.errors import ConfigError

DIGITS = 4
"""Significant digits of a proposed real number: enough for any rate, and a key that a person can type again."""
_FORBIDDEN = {
    "seed": "seeds are no setting: hydra.sweeper.seeds=[1,2,3] runs every setting with each and takes the mean",
    "task": "values of different tasks cannot be compared: make a search for each",
    "experiment": "values of different experiments cannot be compared: make a search for each",
}
_FORBIDDEN_BELOW = (
    "trainer.selection.",
    "task.report_split",
    "task.limit.",
    "task.low_data.",
    "task.metrics",
    "paths.",
)

Value = str | int | float


@dataclass(frozen=True)
class Dimension:
    """One override and the values that it may take."""

    name: str
    text: str
    """As it was written."""
    choices: tuple[str, ...] = ()
    """Of a choice, as they stand on a command line; empty for numbers."""
    low: float = 0.0
    high: float = 0.0
    """Both may be proposed."""
    step: float | None = None
    log: bool = False
    whole: bool = False
    """Integers only."""

    def shown(self, value: Value) -> str:
        """A value as it stands on a command line: a real number with `DIGITS` digits, inside the interval."""
        if self.choices or self.whole:
            return str(value)
        number = float(value)
        if self.step is None:
            number = min(max(float(f"{number:.{DIGITS}g}"), self.low), self.high)
        else:
            number = float(f"{number:.12g}")
        return repr(number)

    def value(self, text: str) -> Value:
        """The value that `shown` wrote."""
        return text if self.choices else int(text) if self.whole else float(text)


def dimension(name: str, text: Any) -> Dimension | None:
    """A dimension of a search space, or None where the text is one fixed value.

    Raises:
        ConfigError: a text that Hydra cannot read, or an override that a search must not vary.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    said = str(text)
    try:
        parsed = OverridesParser.create().parse_override(f"{name}={said}")
    except HydraException as error:
        raise ConfigError(
            f"{name}={said}: this is no search space. Say choice(a,b), range(8,64,8), int(interval(1,64)), "
            f"interval(0.0,0.3) or tag(log, interval(1e-5,1e-2)). ({str(error).splitlines()[0]})"
        ) from error
    if not parsed.is_sweep_override():
        return None
    _check_name(name)
    if parsed.is_choice_sweep():
        choices = tuple(dict.fromkeys(one.partition("=")[2] for one in _elements(parsed, name)))
        return Dimension(name, said, choices)
    sweep: Any = parsed.value()
    if parsed.is_range_sweep():
        return _range(name, said, sweep)
    return _interval(name, said, sweep)


def _elements(parsed: Any, name: str) -> list[str]:
    return [f"{name}={value}" for value in parsed.sweep_string_iterator()]


def _range(name: str, said: str, sweep: Any) -> Dimension:
    numbers = list(sweep.range())
    if not numbers:
        raise ConfigError(f"{name}={said}: this range is empty (its end is not in it). Raise the end.")
    whole = all(float(number).is_integer() for number in numbers) and float(sweep.step).is_integer()
    low, high = min(numbers), max(numbers)
    return Dimension(name, said, (), float(low), float(high), abs(float(sweep.step)), whole=whole)


def _interval(name: str, said: str, sweep: Any) -> Dimension:
    low, high, log = float(sweep.start), float(sweep.end), "log" in sweep.tags
    whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
    if unknown := set(sweep.tags) - {"log"}:
        raise ConfigError(f"{name}={said}: the tag {', '.join(sorted(unknown))} means nothing here; only log does.")
    if low >= high or (log and low <= 0):
        bounds = "the lower end must be below the upper" + (", and above 0 for log" if log else "")
        raise ConfigError(f"{name}={said}: {bounds}. Correct the ends.")
    return Dimension(name, said, (), low, high, None, log, whole)


def _check_name(name: str) -> None:
    why = _FORBIDDEN.get(name)
    if why is None and name.startswith(_FORBIDDEN_BELOW):
        why = "it changes what is measured, so values could not be compared"
    if why is not None:
        raise ConfigError(f"{name}: a search must not vary it: {why}.")


def of(texts: Mapping[str, Any]) -> tuple[list[Dimension], dict[str, str]]:
    """The dimensions of {override: text}, and what is fixed.

    Raises:
        ConfigError: as `dimension`.
    """
    dimensions, fixed = [], {}
    for name, text in texts.items():
        found = dimension(name, text)
        if found is None:
            fixed[name] = str(text)
        else:
            dimensions.append(found)
    return dimensions, fixed
