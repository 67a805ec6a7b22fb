"""The difference of two systems under other training seeds and another test set, or another test set alone.

Statistics are those that a record keeps: per-example rows [N, S] whose sums give the metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.papers.statistics.intervals import ROUNDING, check_level, mean_draws

if TYPE_CHECKING:
    from repro.papers.statistics.intervals import Floats

    Reduce = Callable[[Floats], Mapping[str, float]]
    """`Metric.reduce`: statistics [N, S] to values. It must depend on the sum over the first axis only."""

# Elements of the weight matrix that are held at once (float64: 32 MiB).
_BLOCK_ELEMENTS = 2**22


@dataclass(frozen=True)
class PairedDifference:
    """A value of a minus that of b on the same examples. Unit: that of the metric."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided bootstrap p-value of `the difference is 0`."""
    resamples: int


def hierarchical_difference(
    runs_a: Sequence[Floats],
    runs_b: Sequence[Floats],
    reduce: Reduce,
    value_name: str,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    clusters: Sequence[int] = (),
    fixed_runs: bool = False,
) -> PairedDifference:
    """Mean over seeds of a minus that of b, with its percentile interval and p-value (after Koehn 2004).

    Each resample first draws what each side's mean over seeds may be (Student's t around the R runs' values:
    `mean_draws`), and then one set of N examples, with replacement, on which all runs are scored: they share their test
    set, so seeds and examples cross. Seeds are drawn from t and not from the runs themselves, because R runs resampled
    say too little of their spread: at three seeds that dominate, an interval called 95 % covers 85 % so, and 95 % this
    way. One run says nothing of its seeds, so with one on each side this is the paired bootstrap. Examples that share a
    passage are not independent: with `clusters`, whole clusters are drawn (their statistics are summed first).

    The p-value inverts the interval: twice the smaller share of resampled differences on or beyond 0 from either side,
    counting one more resample that is on the far side (so never exactly 0), at most 1.

    Args:
        runs_a, runs_b: per-example statistics [N, S] of each run, row i of all from the same example; the numbers of
            runs may differ, the examples not.
        reduce: the metric's `reduce`, or any function of sums.
        value_name: which of its values.
        resamples: number of resamples.
        seed: of the draws; the same seed draws the same examples for equal N.
        level: share of the resampled differences that lie inside the interval.
        clusters: the cluster of each example, [N]; empty: each example is one.
        fixed_runs: resample the examples only: another test set, these very runs.

    Raises:
        ValueError: no run, statistics without rows or not [N, S], shapes that differ, no resample, a level outside
            (0, 1), clusters of another N.
    """
    if resamples < 1:
        raise ValueError(f"a bootstrap needs at least 1 resample, not {resamples}; 1000 is usual.")
    check_level(level)
    a, b = _stacked(runs_a, clusters), _stacked(runs_b, clusters)
    _check_same(a[0], b[0])
    drawn_a = _drawn_means(a, reduce, value_name, resamples, seed, 0 if fixed_runs else 1)
    drawn_b = _drawn_means(b, reduce, value_name, resamples, seed, 0 if fixed_runs else 2)
    means = [sum(own) / len(own) for own in (_values_of_runs(side, reduce, value_name) for side in (a, b))]
    return _difference(means[0] - means[1], drawn_a - drawn_b, level)


def clustered(statistics: Floats, clusters: Sequence[int]) -> Floats:
    """Statistics summed by cluster, [clusters, S], in the order in which clusters appear; no clusters: as they are.

    Args:
        statistics: [N, S].
        clusters: a label for each of the N examples, or nothing.

    Raises:
        ValueError: another number of labels than of examples.
    """
    import numpy as np

    if not len(clusters):
        return statistics
    if len(clusters) != len(statistics):
        raise ValueError(f"{len(statistics)} examples need {len(statistics)} clusters, not {len(clusters)}.")
    index: dict[int, int] = {}
    rows = [index.setdefault(label, len(index)) for label in clusters]
    sums = np.zeros((len(index), statistics.shape[1]))
    np.add.at(sums, rows, statistics)
    return sums


def _stacked(runs: Sequence[Floats], clusters: Sequence[int]) -> Floats:
    """Statistics of all runs by cluster, [R, N or clusters, S]."""
    import numpy as np

    if not runs:
        raise ValueError("an interval over seeds needs at least one run.")
    arrays = [_statistics(run) for run in runs]
    for other in arrays[1:]:
        _check_same(arrays[0], other)
    return np.stack([clustered(array, clusters) for array in arrays])


def _values_of_runs(stacked: Floats, reduce: Reduce, value_name: str) -> list[float]:
    """Each run's value on the whole test set, from [R, N, S]."""
    return [_value(reduce, sums, value_name) for sums in stacked.sum(axis=1)]


def _drawn_means(stacked: Floats, reduce: Reduce, value_name: str, resamples: int, seed: int, salt: int) -> Floats:
    """Draws [resamples] of the mean over seeds on drawn examples.

    Args:
        stacked: [R, N, S].
        seed: draws the examples: equal seeds draw the same, whatever the runs.
        salt: draws the seeds' part, together with the seed; 0: the runs as they are.
    """
    import numpy as np

    count, n, columns = stacked.shape
    sums = _resampled_sums(stacked.transpose(1, 0, 2).reshape(n, count * columns), resamples, seed)
    by_run = sums.reshape(resamples, count, columns)
    drawn = np.array([np.mean([_value(reduce, own, value_name) for own in one]) for one in by_run])
    if not salt:
        return drawn
    values = _values_of_runs(stacked, reduce, value_name)
    means = mean_draws(values, resamples, np.random.default_rng([seed, salt]))
    shifted: Floats = drawn + means - float(np.mean(values))
    return shifted


def _difference(observed: float, drawn: Floats, level: float) -> PairedDifference:
    """Interval and two-sided p-value from resampled differences."""
    import numpy as np

    low, high = (float(edge) for edge in np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]))
    # Equal systems may differ in the last bit of a sum of fractions: that is no difference.
    tail = min(int((drawn <= ROUNDING).sum()), int((drawn >= -ROUNDING).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(drawn) + 1))
    return PairedDifference(observed, low, high, p, len(drawn))


def _check_same(a: Floats, b: Floats) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"a paired bootstrap needs statistics of the same examples, not of shapes {a.shape} and {b.shape}."
        )


def _resampled_sums(statistics: Floats, resamples: int, seed: int) -> Floats:
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


def _value(reduce: Reduce, sums: Floats, value_name: str) -> float:
    """One value of a metric from sums [S]."""
    values = reduce(sums[None, :])
    if value_name not in values:
        raise ValueError(f"the metric has no value {value_name!r}; it has {', '.join(sorted(values))}.")
    return float(values[value_name])


def _statistics(statistics: Floats) -> Floats:
    """Statistics as floats [N, S], refused if there are none."""
    import numpy as np

    array = np.asarray(statistics, dtype=float)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"a bootstrap needs statistics [examples, columns] with at least one row, not shape {array.shape}."
        )
    return array
