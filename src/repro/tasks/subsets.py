"""Which examples of a split a trial keeps: limits of ours, the low-data subsets and the fractions of the papers.

Li and Liang 2021 train on 50, 100, 200 and 500 examples (section 6.3: several draws of each size, a validation set of
30 % of it) and on 10 to 80 % of E2E (Figure 6). Their draws cannot be rebuilt; ours depend on (subset, split) alone, so
that every method sees the same examples, and a larger set of one subset contains the smaller ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from repro.config.task_schema import LowData, SplitLimits
from repro.errors import ConfigError, DataError
from repro.tasks.base import SPLITS

_DRAW = 0x10DA7A
"""Keeps these draws apart from those of `task.limit` with an equal seed."""


def as_limits(limit: SplitLimits | Mapping[str, Any] | None) -> SplitLimits:
    """The limits as `SplitLimits`, whichever way a config hands them over.

    Raises:
        ConfigError: a limit below 1.
    """
    limits = limit if isinstance(limit, SplitLimits) else SplitLimits(**(limit or {}))
    for split in SPLITS:
        most = getattr(limits, split)
        if most is not None and most < 1:
            raise ConfigError(f"task.limit.{split} is {most}: give a number of at least 1, or null for all examples.")
    return limits


def kept_positions(total: int, split: str, limits: SplitLimits) -> list[int]:
    """Positions of the examples that a limit keeps, ascending: the file's order is never changed.

    Train and validation: a random subset; a larger limit with the same seed contains the smaller one. Test: the first.
    """
    most = getattr(limits, split)
    if most is None or most >= total:
        return list(range(total))
    if split == "test":
        return list(range(most))
    return _drawn(total, most, [limits.seed, SPLITS.index(split)])


def _drawn(total: int, number: int, seed: list[int]) -> list[int]:
    generator = np.random.Generator(np.random.PCG64(seed))
    return sorted(int(position) for position in generator.permutation(total)[:number])


class Selection:
    """What `task.limit`, `task.low_data` and `task.fraction` keep of each split; the test split only knows a limit."""

    def __init__(
        self,
        limit: SplitLimits | Mapping[str, Any] | None = None,
        low_data: LowData | Mapping[str, Any] | None = None,
        fraction: float | None = None,
    ) -> None:
        """Nothing is drawn here.

        Raises:
            ConfigError: a number out of range, or two settings that cut the same split.
        """
        self._limits = as_limits(limit)
        self._low = low_data if isinstance(low_data, LowData) else LowData(**(low_data or {}))
        self._fraction = fraction
        _check(self._limits, self._low, fraction)

    def positions(self, split: str, total: int) -> list[int]:
        """Ascending positions of the examples that are kept of a split of `total`.

        Raises:
            DataError: a low-data set larger than the split.
        """
        number = self._number(split, total)
        if number is None:
            return kept_positions(total, split, self._limits)
        if number > total:
            raise DataError(
                f"task.low_data.size={self._low.size} asks for {number} {split} examples, the split has {total}: lower "
                "task.low_data.size, or set task.low_data.dev_fraction=null for the whole validation split."
            )
        return _drawn(total, number, [_DRAW, self._low.subset, SPLITS.index(split)])

    def _number(self, split: str, total: int) -> int | None:
        """How many examples the papers' settings keep of a split; None where they leave it alone."""
        if split == "train" and self._low.size is not None:
            return self._low.size
        if split == "train" and self._fraction is not None:
            return max(1, _rounded(self._fraction * total))
        if split == "validation" and self._low.size is not None and self._low.dev_fraction is not None:
            return max(1, _rounded(self._low.dev_fraction * self._low.size))
        return None

    def deviation(self, split: str, kept: int, total: int) -> str | None:
        """The sentence for the record if examples were left out."""
        if kept == total:
            return None
        if self._number(split, total) is None:
            return f"{split}: {kept} of {total} examples (task.limit.{split})."
        name = "task.fraction" if self._low.size is None else "task.low_data"
        return f"{split}: {kept} of {total} examples ({name}, our draw {self._low.subset}: the papers' are not known)."


def _rounded(number: float) -> int:
    """The nearest whole number, halves up; 0.3 * 50 must be 15 though floats make it 14.999..."""
    return int(np.floor(round(number, 6) + 0.5))


def _check(limits: SplitLimits, low: LowData, fraction: float | None) -> None:
    if low.size is not None and low.size < 1:
        raise ConfigError(f"task.low_data.size is {low.size}: give a number of at least 1, or null for all examples.")
    if low.subset < 0:
        raise ConfigError(f"task.low_data.subset is {low.subset}: give 0 or more (E2E 0 to 4; XSum 101, 22, 8).")
    if low.dev_fraction is not None and low.dev_fraction <= 0:
        raise ConfigError(f"task.low_data.dev_fraction is {low.dev_fraction}: it must be above 0, or null for all.")
    if fraction is not None and not 0 < fraction <= 1:
        raise ConfigError(f"task.fraction is {fraction}: it must be above 0 and at most 1 (0.1 is 10 %), or null.")
    if low.size is not None and fraction is not None:
        raise ConfigError(
            f"task.low_data.size={low.size} and task.fraction={fraction} both cut the training set: set one to null."
        )
    cut = {"train": low.size or fraction, "validation": low.size if low.dev_fraction is not None else None}
    for split, value in cut.items():
        if value is not None and getattr(limits, split) is not None:
            setting = "task.low_data.size" if low.size is not None else "task.fraction"
            fix = " (or task.low_data.dev_fraction=null)" if split == "validation" else ""
            raise ConfigError(
                f"{setting}={value} and task.limit.{split}={getattr(limits, split)} both cut the {split} split: set "
                f"task.limit.{split}=null{fix}."
            )
