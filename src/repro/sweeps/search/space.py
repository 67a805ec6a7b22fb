"""A search space, written as Hydra writes sweeps: `choice(a,b)`, `range(8,64,8)`, `tag(log, interval(1e-5, 1e-2))`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep

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


def dimension(name: str, text: object) -> Dimension | None:
    """A dimension of a search space, or None where the text is one fixed value.

    Raises:
        ConfigError: a text that Hydra cannot read, or an override that a search must not vary.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from hydra.errors import HydraException

    word = f"{name}={text}"
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise ConfigError(
            f"{word}: this is no search space. Say choice(a,b), range(8,64,8), int(interval(1,64)), "
            f"interval(0.0,0.3) or tag(log, interval(1e-5,1e-2)). ({str(error).splitlines()[0]})"
        ) from error
    if not override.is_sweep_override():
        return None
    _check_name(name)
    sweep = override.value()
    if isinstance(sweep, RangeSweep):
        return _range(name, str(text), sweep)
    if isinstance(sweep, IntervalSweep):
        return _interval(name, str(text), sweep)
    return Dimension(name, str(text), tuple(dict.fromkeys(map(str, override.sweep_string_iterator()))))


def _range(name: str, text: str, sweep: RangeSweep) -> Dimension:
    numbers = list(sweep.range())
    if not numbers:
        raise ConfigError(f"{name}={text}: this range is empty (its end is not in it). Raise the end.")
    step = float(sweep.step)
    whole = all(float(number).is_integer() for number in numbers) and step.is_integer()
    return Dimension(name, text, (), float(min(numbers)), float(max(numbers)), abs(step), whole=whole)


def _interval(name: str, text: str, sweep: IntervalSweep) -> Dimension:
    start, end = sweep.start, sweep.end
    assert start is not None and end is not None
    low, high, log = float(start), float(end), "log" in sweep.tags
    if unknown := set(sweep.tags) - {"log"}:
        raise ConfigError(f"{name}={text}: the tag {', '.join(sorted(unknown))} means nothing here; only log does.")
    if low >= high or (log and low <= 0):
        bounds = "the lower end must be below the upper" + (", and above 0 for log" if log else "")
        raise ConfigError(f"{name}={text}: {bounds}. Correct the ends.")
    return Dimension(name, text, (), low, high, None, log, isinstance(start, int) and isinstance(end, int))


def _check_name(name: str) -> None:
    why = _FORBIDDEN.get(name)
    if why is None and name.startswith(_FORBIDDEN_BELOW):
        why = "it changes what is measured, so values could not be compared"
    if why is not None:
        raise ConfigError(f"{name}: a search must not vary it: {why}.")


def of(texts: Mapping[str, object]) -> tuple[list[Dimension], dict[str, str]]:
    """The dimensions of {override: text}, and what is fixed."""
    parsed = {name: dimension(name, text) for name, text in texts.items()}
    fixed = {name: str(texts[name]) for name, value in parsed.items() if value is None}
    return [value for value in parsed.values() if value is not None], fixed
