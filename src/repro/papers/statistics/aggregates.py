"""Averages over several tasks with few runs each (after Agarwal et al. 2021): stratified intervals, interquartile mean
and probability of improvement.

Scores are one list a task, one value a run, in percent. Tasks are fixed (SuperGLUE has its eight); runs are resampled
within each task. Each resample draws one run less than a task has, because as many as it has give a variance that is
too small by (n - 1) / n: a third at three runs. (The reference implementation draws as many.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.papers.statistics.intervals import check_level

if TYPE_CHECKING:
    from repro.papers.statistics.intervals import Floats

    Scores = Sequence[Sequence[float]] | list[Floats]
    """One list a task, one value a run."""


@dataclass(frozen=True)
class Aggregated:
    """An aggregate over tasks and its stratified bootstrap interval. Unit: that of the scores, or a probability."""

    value: float
    low: float | None
    """None where every task has one run: nothing can be resampled."""
    high: float | None
    runs: tuple[int, ...]
    """Runs a task. A task with one run adds nothing to the width of the interval, which is then too narrow."""


def mean_of_tasks(scores: Scores) -> float:
    """The mean over tasks of the mean over runs: what the papers print as an average."""
    import numpy as np

    return float(np.mean([np.mean(one) for one in _checked(scores)]))


def interquartile_mean(scores: Scores) -> float:
    """The mean of the middle half of all runs of all tasks: less swayed by one task than the mean."""
    import numpy as np
    from scipy.stats import trim_mean

    return float(trim_mean(np.concatenate(_checked(scores)), 0.25))


def probability_of_improvement(a: Scores, b: Scores) -> float:
    """The mean over tasks of the chance that a run of a scores higher than one of b; ties count half."""
    import numpy as np

    x, y = _checked(a), _checked(b)
    if len(x) != len(y):
        raise ValueError(f"a probability of improvement needs the same tasks on both sides, not {len(x)} and {len(y)}.")
    wins = [np.sign(own[:, None] - other[None, :]) for own, other in zip(x, y, strict=True)]
    return float(np.mean([(one.mean() + 1) / 2 for one in wins]))


def aggregated(
    scores: Scores,
    aggregate: Callable[[Scores], float] = mean_of_tasks,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Aggregated:
    """An aggregate with a percentile interval; runs are drawn with replacement within each task.

    Args:
        scores: one list a task, one value a run.
        aggregate: `mean_of_tasks`, `interquartile_mean`, or another function of such lists.
        resamples, seed, level: of the bootstrap.

    Raises:
        ValueError: no task, a task without a run, a value that is not finite, or a level outside (0, 1).
    """
    return _interval([_checked(scores)], lambda drawn: aggregate(drawn[0]), resamples, seed, level)


def improvement(
    a: Scores,
    b: Scores,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Aggregated:
    """`probability_of_improvement` with a stratified interval; runs of a and b are drawn on their own.

    Raises:
        ValueError: as `aggregated`, or other tasks on the two sides.
    """
    sides = [_checked(a), _checked(b)]
    return _interval(sides, lambda drawn: probability_of_improvement(drawn[0], drawn[1]), resamples, seed, level)


def _interval(
    sides: list[list[Floats]],
    aggregate: Callable[[list[list[Floats]]], float],
    resamples: int,
    seed: int,
    level: float,
) -> Aggregated:
    import numpy as np

    check_level(level)
    if resamples < 1:
        raise ValueError(f"a bootstrap needs at least 1 resample, not {resamples}; 2000 is usual.")
    value = aggregate(sides)
    runs = tuple(min(len(side[task]) for side in sides) for task in range(len(sides[0])))
    if all(len(one) == 1 for side in sides for one in side):
        return Aggregated(value, None, None, runs)
    generator = np.random.default_rng(seed)
    # One array [resamples, n - 1] a task and side: drawing them one by one takes most of the time otherwise.
    picked = [[one[generator.integers(len(one), size=(resamples, max(1, len(one) - 1)))] for one in s] for s in sides]
    drawn = [aggregate([[one[row] for one in side] for side in picked]) for row in range(resamples)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Aggregated(value, float(low), float(high), runs)


def _checked(scores: Scores) -> list[Floats]:
    import numpy as np

    arrays = [np.asarray(one, dtype=float) for one in scores]
    if not arrays or any(one.ndim != 1 or one.size == 0 or not np.isfinite(one).all() for one in arrays):
        raise ValueError("an aggregate over tasks needs at least one task, and at least one finite score in each.")
    return arrays
