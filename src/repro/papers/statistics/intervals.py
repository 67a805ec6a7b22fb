"""Means over seeds with their intervals, draws of an uncertain mean, and verdicts of equivalence.

Imports numpy and scipy only inside functions: reports and the command line start quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

VERDICTS = ("reproduced", "close", "above", "below")

# Decimals are not exact in binary: 72.1 + 0.1 < 72.2, so a value on the edge of a tolerance would fall outside.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Summary:
    """Centre and spread of runs that differ in the seed. Unit: that of the values."""

    n: int
    mean: float
    std: float | None
    """Sample standard deviation (n - 1 in the denominator), None for one value."""
    low: float | None
    """Lower end of the Student-t interval of the mean, None for one value."""
    high: float | None


def summary(values: Sequence[float], level: float = 0.95) -> Summary:
    """Mean, standard deviation and Student-t interval of the mean: mean +- t(n - 1) * std / sqrt(n).

    Args:
        values: one value a run.
        level: probability that the interval covers the mean, for normal values.

    Raises:
        ValueError: no value, one that is not finite, or a level outside (0, 1).
    """
    import numpy as np

    check_level(level)
    array = np.asarray(values, dtype=float)  # [n]
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"a summary needs a list of at least one finite number, not {list(values)!r}.")
    n, mean = array.size, float(array.mean())
    if n == 1:
        return Summary(n=1, mean=mean, std=None, low=None, high=None)
    from scipy.special import stdtrit  # takes a sixth of a second, and one run does not need it

    std = float(array.std(ddof=1))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * std / n**0.5
    return Summary(n=n, mean=mean, std=std, low=mean - half, high=mean + half)


@dataclass(frozen=True)
class MeanDifference:
    """Mean of a minus mean of b over runs, and Welch's interval. Unit: that of the values."""

    difference: float
    low: float | None
    """None where a side has one run."""
    high: float | None


def difference_of_means(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> MeanDifference:
    """Welch's interval of a difference: Student's t with the degrees of freedom of Satterthwaite, spreads not pooled.

    Seeds of the two sides are independent, also where they have the same number: they start different tensors.

    Args:
        a, b: one value a run.
        level: as in `summary`.

    Raises:
        ValueError: what `summary` refuses.
    """
    from scipy.special import stdtrit

    x, y = summary(a, level), summary(b, level)
    gap = x.mean - y.mean
    if x.std is None or y.std is None:
        return MeanDifference(gap, None, None)
    parts = [x.std**2 / x.n, y.std**2 / y.n]
    if sum(parts) == 0:
        return MeanDifference(gap, gap, gap)
    freedom = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, (x.n, y.n), strict=True))
    half = float(stdtrit(freedom, (1 + level) / 2)) * sum(parts) ** 0.5
    return MeanDifference(gap, gap - half, gap + half)


def mean_draws(values: Sequence[float], draws: int, generator: np.random.Generator) -> Floats:
    """Draws [draws] of the mean over infinitely many seeds, given these runs.

    mean + t * std / sqrt(n) with t from Student's distribution with n - 1 degrees of freedom, so that the central share
    of the draws is the interval of `summary`. One run says nothing of its spread: its draws are all its value.

    Args:
        values: one value a run.
        draws: how many.
        generator: of the draws.

    Raises:
        ValueError: what `summary` refuses.
    """
    import numpy as np

    runs = summary(values)
    if runs.std is None:
        return np.full(draws, runs.mean)
    drawn: Floats = runs.mean + generator.standard_t(runs.n - 1, size=draws) * runs.std / runs.n**0.5
    return drawn


def equivalence(ours: Sequence[float], theirs: float, tolerance: float) -> str:
    """Whether our runs reproduce a reported value, judged by an interval and not by a test that failed to reject.

    With several runs the 95 % Student-t interval of our mean is held against [theirs - tolerance, theirs + tolerance]:

    - `reproduced`: the interval lies inside that region (stricter than two one-sided tests at 5 %, which take 90 %);
    - `above`, `below`: it lies wholly outside, on that side;
    - `close`: it crosses an edge, so the runs do not decide.

    One run has no interval: its value itself is inside (`reproduced`), above or below, never `close`. The verdict does
    not say so: n is printed beside it. The edges belong to the region, give or take 1e-9.

    Args:
        ours: one value a run, in the metric's unit.
        theirs: the reported value.
        tolerance: half width of what counts as the same value; at least 0.

    Returns:
        One of `VERDICTS`.

    Raises:
        ValueError: no value, a number that is not finite, or a negative tolerance.
    """
    if not (abs(theirs) < float("inf") and 0 <= tolerance < float("inf")):
        raise ValueError(
            f"an equivalence needs a finite reported value and a tolerance of at least 0, not {theirs} and {tolerance}."
        )
    ours_summary = summary(ours)
    low = ours_summary.mean if ours_summary.low is None else ours_summary.low
    high = ours_summary.mean if ours_summary.high is None else ours_summary.high
    bottom, top = theirs - tolerance - ROUNDING, theirs + tolerance + ROUNDING
    if bottom <= low and high <= top:
        return "reproduced"
    if low > top:
        return "above"
    if high < bottom:
        return "below"
    return "close"


def check_level(level: float) -> None:
    """Raises ValueError for a level of an interval outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval is a share between 0 and 1, not {level}; 0.95 is usual.")
