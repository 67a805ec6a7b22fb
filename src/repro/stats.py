"""Intervals over seeds, intervals over test examples, paired differences, and verdicts of equivalence.

Two sources of uncertainty are kept apart: `summary` and `equivalence` speak of training runs (seeds), the bootstraps of
the test set at fixed runs. Imports numpy and scipy only inside functions: reports and the command line start quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    Reduce = Callable[[np.ndarray], Mapping[str, float]]
    """`Metric.reduce`: statistics [N, S] to values. It must depend on the sum over the first axis only."""

VERDICTS = ("reproduced", "close", "above", "below")

# Decimals are not exact in binary: 72.1 + 0.1 < 72.2, so a value on the edge of a band would fall out of it.
_ROUNDING = 1e-9
# Elements of the weight matrix that are held at once (float64: 32 MiB).
_BLOCK_ELEMENTS = 2**22


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


@dataclass(frozen=True)
class Interval:
    """A value on the whole test set and a bootstrap interval around it. Unit: that of the metric."""

    value: float
    low: float
    high: float
    resamples: int


@dataclass(frozen=True)
class PairedDifference:
    """A value of a minus that of b on the same examples. Unit: that of the metric."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided bootstrap p-value of `the difference is 0`."""
    resamples: int


def summary(values: Sequence[float], level: float = 0.95) -> Summary:
    """Mean, standard deviation and Student-t interval of the mean: mean +- t(n - 1) * std / sqrt(n).

    Args:
        values: one value a run.
        level: probability that the interval covers the mean, for normal values.

    Raises:
        ValueError: no value, one that is not finite, or a level outside (0, 1).
    """
    import numpy as np
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    _check_level(level)
    array = np.asarray(values, dtype=float)  # [n]
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"a summary needs a list of at least one finite number, not {list(values)!r}.")
    n, mean = array.size, float(array.mean())
    if n == 1:
        return Summary(n=1, mean=mean, std=None, low=None, high=None)
    std = float(array.std(ddof=1))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * std / n**0.5
    return Summary(n=n, mean=mean, std=std, low=mean - half, high=mean + half)


def equivalence(ours: Sequence[float], theirs: float, band: float) -> str:
    """Whether our runs reproduce a reported value, judged by an interval and not by a test that failed to reject.

    With several runs the 95 % Student-t interval of our mean is held against [theirs - band, theirs + band]:

    - `reproduced`: the interval lies inside the band (stricter than two one-sided tests at 5 %, which take 90 %);
    - `above`, `below`: the interval lies wholly outside the band, on that side;
    - `close`: it crosses an edge of the band, so the runs do not decide.

    One run has no interval: its value itself is inside (`reproduced`), above or below, never `close`. The verdict does
    not say so; whoever prints it prints n beside it. The edges belong to the band, give or take 1e-9.

    Args:
        ours: one value a run, in the metric's unit.
        theirs: the reported value.
        band: half width of what counts as the same value; at least 0.

    Returns:
        One of `VERDICTS`.

    Raises:
        ValueError: no value, a number that is not finite, or a negative band.
    """
    if not (abs(theirs) < float("inf") and 0 <= band < float("inf")):
        raise ValueError(
            f"an equivalence needs a finite reported value and a band of at least 0, not {theirs} and {band}."
        )
    ours_summary = summary(ours)
    low = ours_summary.mean if ours_summary.low is None else ours_summary.low
    high = ours_summary.mean if ours_summary.high is None else ours_summary.high
    bottom, top = theirs - band - _ROUNDING, theirs + band + _ROUNDING
    if bottom <= low and high <= top:
        return "reproduced"
    if low > top:
        return "above"
    if high < bottom:
        return "below"
    return "close"


def bootstrap_interval(
    statistics: np.ndarray,
    reduce: Reduce,
    value_name: str,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a corpus metric over test examples.

    Each resample draws N examples with replacement; its sums are weights [N] times statistics. Examples that share a
    passage are not independent: pass their statistics summed, one row a cluster, and clusters are drawn.

    Args:
        statistics: per-example statistics [N, S].
        reduce: the metric's `reduce`, or any function of sums.
        value_name: which of its values.
        resamples: number of resamples.
        seed: of the draws; the same seed draws the same examples for equal N.
        level: share of the resampled values that lie inside the interval.

    Raises:
        ValueError: statistics without rows or not [N, S], no resample, a level outside (0, 1).
    """
    import numpy as np

    array = _statistics(statistics)
    _check_draws(resamples, level)
    values = np.array([_value(reduce, sums, value_name) for sums in _resampled_sums(array, resamples, seed)])
    low, high = _percentiles(values, level)
    return Interval(_value(reduce, array.sum(axis=0), value_name), low, high, resamples)


def paired_bootstrap(
    stats_a: np.ndarray,
    stats_b: np.ndarray,
    reduce: Reduce,
    value_name: str,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedDifference:
    """Difference of two systems on the same examples, its percentile interval and p-value (after Koehn 2004).

    Both systems are scored on the same resampled examples. The p-value inverts the interval: twice the smaller share of
    resampled differences on or beyond 0 from either side, counting one more resample that is on the far side (so never
    exactly 0), at most 1. Training seeds are not resampled: it says nothing of another run of either system.

    Args:
        stats_a, stats_b: per-example statistics [N, S] each, row i of both from the same example.
        reduce, value_name, resamples, seed, level: as in `bootstrap_interval`.

    Raises:
        ValueError: shapes that differ, or what `bootstrap_interval` refuses.
    """
    import numpy as np

    a, b = _statistics(stats_a), _statistics(stats_b)
    if a.shape != b.shape:
        raise ValueError(
            f"a paired bootstrap needs statistics of the same examples, not of shapes {a.shape} and {b.shape}."
        )
    _check_draws(resamples, level)
    columns = a.shape[1]

    def difference(sums: np.ndarray) -> float:
        return _value(reduce, sums[:columns], value_name) - _value(reduce, sums[columns:], value_name)

    both = np.concatenate([a, b], axis=1)  # [N, 2 S]: one set of weights for both
    drawn = np.array([difference(sums) for sums in _resampled_sums(both, resamples, seed)])
    low, high = _percentiles(drawn, level)
    # Equal systems may differ in the last bit of a sum of fractions: that is no difference.
    tail = min(int((drawn <= _ROUNDING).sum()), int((drawn >= -_ROUNDING).sum()))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return PairedDifference(difference(both.sum(axis=0)), low, high, p, resamples)


def _resampled_sums(statistics: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Sums [resamples, S] of N rows drawn with replacement: weights [resamples, N] @ statistics [N, S], in blocks."""
    import numpy as np

    generator = np.random.default_rng(seed)
    n = len(statistics)
    block = max(1, _BLOCK_ELEMENTS // n)
    sums = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        draws = (np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(rows))
        weights = np.stack(list(draws)).astype(float)  # [rows, N]
        sums.append(weights @ statistics)
    return np.concatenate(sums)


def _value(reduce: Reduce, sums: np.ndarray, value_name: str) -> float:
    """One value of a metric from sums [S]."""
    values = reduce(sums[None, :])
    if value_name not in values:
        raise ValueError(f"the metric has no value {value_name!r}; it has {', '.join(sorted(values))}.")
    return float(values[value_name])


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    """The central share `level` of values [resamples]."""
    import numpy as np

    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _statistics(statistics: np.ndarray) -> np.ndarray:
    """Statistics as floats [N, S], refused if there are none."""
    import numpy as np

    array = np.asarray(statistics, dtype=float)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"a bootstrap needs statistics [examples, columns] with at least one row, not shape {array.shape}."
        )
    return array


def _check_draws(resamples: int, level: float) -> None:
    if resamples < 1:
        raise ValueError(f"a bootstrap needs at least 1 resample, not {resamples}; 1000 is usual.")
    _check_level(level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval is a share between 0 and 1, not {level}; 0.95 is usual.")
