"""Seeds and examples together, clusters, draws of a mean, several tasks: closed forms, brute force, coverage."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from repro.papers.statistics.aggregates import (
    Aggregated,
    aggregated,
    improvement,
    interquartile_mean,
    mean_of_tasks,
    probability_of_improvement,
)
from repro.papers.statistics.bootstrap import (
    PairedDifference,
    clustered,
    hierarchical_difference,
)
from repro.papers.statistics.intervals import MeanDifference, difference_of_means, mean_draws, summary


def mean(statistics: np.ndarray) -> dict[str, float]:
    total, count = np.asarray(statistics).sum(axis=0)
    return {"mean": float(total / count)}


def with_count(values: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(values, dtype=float), np.ones(len(values))], axis=1)


def simulated(generator: np.random.Generator, runs: int, n: int, seeds: float, examples: float) -> list[np.ndarray]:
    """Runs whose mean is 50: a shift a run, a difficulty an example that the runs share, and noise."""
    difficulty = generator.normal(0, examples, size=n)
    shifts = generator.normal(0, seeds, size=runs)
    return [with_count(50 + shift + difficulty + generator.normal(0, 1, size=n)) for shift in shifts]


def interval(runs: Sequence[np.ndarray], **options: object) -> PairedDifference:
    """Of the mean of one side: its difference from runs that are 0 on every example."""
    nothing = with_count(np.zeros(len(runs[0])))
    return hierarchical_difference(runs, [nothing], mean, "mean", **options)


# --- clusters ------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9), st.integers(0, 3)), min_size=1, max_size=30))
def test_clustered_sums_by_label_in_order_of_appearance(rows: list[tuple[int, int, int]]) -> None:
    labels = [label for label, *_ in rows]
    found = clustered(np.array([values for _, *values in rows], dtype=float), labels)
    naive = [
        [sum(row[1 + column] for row in rows if row[0] == label) for column in (0, 1)]
        for label in dict.fromkeys(labels)
    ]
    assert found.tolist() == naive


def test_clusters_widen_the_interval_as_summed_rows_do() -> None:
    passages = np.random.default_rng(6).integers(0, 2, size=40)
    rows = with_count(np.repeat(passages, 10))
    labels = np.repeat(np.arange(40), 10)
    found = interval([rows], seed=1, clusters=labels.tolist())
    assert found == interval([rows.reshape(40, 10, 2).sum(axis=1)], seed=1)
    alone = interval([rows], seed=1)
    assert (found.high - found.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(10), rel=0.15)


def test_the_paired_bootstrap_draws_clusters_too() -> None:
    generator = np.random.default_rng(3)
    a = np.repeat(generator.integers(0, 2, size=30), 4)
    b = np.repeat(generator.integers(0, 2, size=30), 4)
    labels = np.repeat(np.arange(30), 4).tolist()
    found = hierarchical_difference([with_count(a)], [with_count(b)], mean, "mean", seed=2, clusters=labels)
    summed = [with_count(x).reshape(30, 4, 2).sum(axis=1) for x in (a, b)]
    assert found == hierarchical_difference([summed[0]], [summed[1]], mean, "mean", seed=2)


def test_another_number_of_clusters_is_refused() -> None:
    with pytest.raises(ValueError, match="3 examples need 3 clusters, not 2"):
        clustered(np.ones((3, 2)), [0, 1])


# --- seeds and examples --------------------------------------------------------------------------------------------


def test_equal_runs_have_the_interval_of_their_test_set() -> None:
    (run,) = simulated(np.random.default_rng(2), 1, 80, 2.0, 5.0)
    both = interval([run, run, run], seed=4)
    alone = interval([run], seed=4)
    assert (both.difference, both.low, both.high) == pytest.approx((alone.difference, alone.low, alone.high))


def test_the_draws_by_hand() -> None:
    """The rule written out: the mean run on drawn examples, moved by what t leaves open of its seeds."""
    runs = simulated(np.random.default_rng(3), 3, 12, 2.0, 5.0)
    examples, seeds = np.random.default_rng(7), np.random.default_rng([7, 1])
    values = [mean(run)["mean"] for run in runs]
    moved = seeds.standard_t(2, size=60) * np.std(values, ddof=1) / math.sqrt(3)
    drawn = []
    for shift in moved:
        rows = examples.integers(12, size=12)
        drawn.append(np.mean([mean(run[rows])["mean"] for run in runs]) + shift)
    found = interval(runs, resamples=60, seed=7)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert found.difference == pytest.approx(np.mean(values))


def test_with_many_runs_the_variance_is_that_of_seeds_plus_that_of_examples() -> None:
    """For a mean: s^2 / R over runs plus the variance of the mean run's examples; t is near the normal at 40 runs."""
    runs = simulated(np.random.default_rng(4), 40, 150, 9.0, 20.0)
    wide = interval(runs, resamples=3000, seed=1, level=0.6827)
    seeds = np.var([run[:, 0].mean() for run in runs], ddof=1) / 40
    examples = np.var(np.mean([run[:, 0] for run in runs], axis=0)) / 150
    assert (wide.high - wide.low) / 2 == pytest.approx(math.sqrt(seeds + examples), rel=0.06)


def test_both_leave_more_open_than_either() -> None:
    runs = simulated(np.random.default_rng(5), 3, 150, 2.0, 20.0)
    both = interval(runs, seed=1)
    seeds, examples = (
        summary([run[:, 0].mean() for run in runs]),
        interval([np.mean(runs, axis=0)]),
    )
    assert seeds.low is not None and seeds.high is not None
    assert both.high - both.low > max(seeds.high - seeds.low, examples.high - examples.low)


def test_coverage_of_both_together_with_three_runs() -> None:
    """Three runs, 60 examples: the interval covers the truth as often as it says; that of the test set does not."""
    generator = np.random.default_rng(11)
    both = alone = 0
    for trial in range(120):
        runs = simulated(generator, 3, 60, 2.0, 4.0)
        found = interval(runs, resamples=100, seed=trial)
        both += found.low <= 50 <= found.high
        one = interval(runs, resamples=100, seed=trial, fixed_runs=True)
        alone += one.low <= 50 <= one.high
    assert both / 120 >= 0.9
    assert alone / 120 < 0.75


def test_a_difference_cancels_what_the_runs_share() -> None:
    generator = np.random.default_rng(12)
    runs = simulated(generator, 6, 100, 0.3, 30.0)
    a, b = runs[:3], runs[3:]
    found = hierarchical_difference(a, b, mean, "mean", seed=3)
    assert found.difference == pytest.approx(
        np.mean([r[:, 0].mean() for r in a]) - np.mean([r[:, 0].mean() for r in b])
    )
    single = interval(a, seed=3)
    assert found.high - found.low < 0.2 * (single.high - single.low)
    back = hierarchical_difference(b, a, mean, "mean", seed=3)
    assert back.difference == pytest.approx(-found.difference)


def test_what_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        hierarchical_difference([], [np.ones((3, 2))], mean, "mean")
    with pytest.raises(ValueError, match="same examples"):
        interval([np.ones((3, 2)), np.ones((4, 2))])
    with pytest.raises(ValueError, match="same examples"):
        hierarchical_difference([np.ones((3, 2))], [np.ones((4, 2))], mean, "mean")
    with pytest.raises(ValueError, match="at least 1 resample"):
        interval([np.ones((3, 2))], resamples=0)


# --- draws of a mean -----------------------------------------------------------------------------------------------


def test_draws_of_a_mean_have_the_t_interval() -> None:
    values = [71.0, 73.5, 72.2]
    draws = mean_draws(values, 200_000, np.random.default_rng(1))
    expected = summary(values)
    assert expected.low is not None and expected.high is not None
    low, high = np.quantile(draws, [0.025, 0.975])
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.02 * width)
    assert high == pytest.approx(expected.high, abs=0.02 * width)


def test_one_run_draws_its_value() -> None:
    assert set(mean_draws([70.0], 5, np.random.default_rng(1))) == {70.0}


# --- several tasks -------------------------------------------------------------------------------------------------

TASKS = st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=4), min_size=1, max_size=5)


@given(TASKS)
def test_aggregates_by_hand(scores: list[list[int]]) -> None:
    assert mean_of_tasks(scores) == pytest.approx(sum(sum(one) / len(one) for one in scores) / len(scores))
    every = sorted(itertools.chain(*scores))
    cut = int(0.25 * len(every))
    middle = every[cut : len(every) - cut]
    assert interquartile_mean(scores) == pytest.approx(sum(middle) / len(middle))


@given(
    TASKS.flatmap(
        lambda a: st.tuples(
            st.just(a),
            st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=4), min_size=len(a), max_size=len(a)),
        )
    )
)
def test_probability_of_improvement_is_mann_whitneys(pair: tuple[list[list[int]], list[list[int]]]) -> None:
    a, b = pair
    u = [scipy.stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in zip(a, b, strict=True)]
    assert probability_of_improvement(a, b) == pytest.approx(np.mean(u))
    assert probability_of_improvement(a, b) + probability_of_improvement(b, a) == pytest.approx(1)


def test_the_stratified_interval_of_a_mean_is_the_normal_one() -> None:
    """Variance of the mean over tasks: the sum of s^2 / n over the tasks, over the square of their number."""
    generator = np.random.default_rng(2)
    scores = [generator.normal(50 + 10 * task, 1 + task, size=6) for task in range(8)]
    found = aggregated([list(one) for one in scores], resamples=3000, seed=1)
    half = 1.96 * math.sqrt(sum(one.var(ddof=1) / 6 for one in scores)) / 8
    assert found.low is not None and found.high is not None
    assert found.value == pytest.approx(np.mean([one.mean() for one in scores]))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)
    assert found.runs == (6,) * 8


def test_coverage_with_three_runs_of_eight_tasks() -> None:
    """Drawing n - 1 of n runs nearly covers as it says; drawing n of n, as the reference does, covers less."""
    generator = np.random.default_rng(5)
    centres, spreads = generator.uniform(40, 90, size=8), generator.uniform(0.5, 3, size=8)
    covered = narrow = 0
    for trial in range(150):
        scores = [list(generator.normal(c, s, size=3)) for c, s in zip(centres, spreads, strict=True)]
        found = aggregated(scores, resamples=200, seed=trial)
        assert found.low is not None and found.high is not None
        covered += found.low <= centres.mean() <= found.high
        shrunk = math.sqrt(2 / 3) * (found.high - found.low) / 2
        narrow += abs(found.value - centres.mean()) <= shrunk
    assert 0.84 <= covered / 150 <= 0.99
    assert narrow < covered


def test_one_run_a_task_has_no_interval_and_says_so() -> None:
    assert aggregated([[70.0], [80.0]]) == Aggregated(75.0, None, None, (1, 1))
    some = aggregated([[70.0], [80.0, 82.0]])
    assert some.runs == (1, 2) and some.low is not None


def test_improvement_has_an_interval_between_0_and_1() -> None:
    generator = np.random.default_rng(6)
    a = [list(generator.normal(51, 1, size=5)) for _ in range(4)]
    b = [list(generator.normal(50, 1, size=5)) for _ in range(4)]
    found = improvement(a, b, resamples=400)
    assert found.low is not None and found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == probability_of_improvement(a, b) > 0.5
    sure = improvement([[1.0, 2.0]], [[0.0, 0.5]])
    assert (sure.value, sure.low, sure.high) == (1, 1, 1)


@pytest.mark.parametrize("scores", [[], [[]], [[1.0], [float("nan")]]])
def test_scores_that_are_none_are_refused(scores: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="at least one task"):
        aggregated(scores)


def test_other_tasks_on_the_two_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="the same tasks"):
        improvement([[1.0]], [[1.0], [2.0]])


# --- Welch, and runs as they are -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), min_size=2, max_size=6), st.lists(st.integers(0, 50), min_size=2, max_size=6))
def test_a_difference_of_means_has_welchs_interval(a: list[int], b: list[int]) -> None:
    found = difference_of_means(a, b)
    assert found.difference == pytest.approx(np.mean(a) - np.mean(b))
    assume(len(set(a)) > 1 and len(set(b)) > 1)  # scipy warns of sides without spread; they have a test of their own
    low, high = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_side_without_spread_adds_none() -> None:
    assert difference_of_means([5.0, 5.0], [3.0, 3.0, 3.0]) == MeanDifference(2.0, 2.0, 2.0)
    found, alone = difference_of_means([1.0, 2.0, 4.0], [1.0, 1.0]), summary([1.0, 2.0, 4.0])
    assert alone.low is not None and alone.high is not None
    assert (found.low, found.high) == pytest.approx((alone.low - 1, alone.high - 1))


def test_one_run_on_a_side_has_no_interval() -> None:
    found = difference_of_means([1.0, 2.0], [1.0])
    assert (found.difference, found.low, found.high) == (0.5, None, None)


def test_fixed_runs_resample_the_mean_runs_examples() -> None:
    runs = simulated(np.random.default_rng(21), 3, 30, 2.0, 5.0)
    average = np.mean(runs, axis=0)
    fixed = interval(runs, seed=9, fixed_runs=True)
    alone = interval([average], seed=9)
    assert (fixed.difference, fixed.low, fixed.high) == pytest.approx((alone.difference, alone.low, alone.high))
    others = simulated(np.random.default_rng(22), 2, 30, 2.0, 5.0)
    pair = hierarchical_difference(runs, others, mean, "mean", seed=9, fixed_runs=True)
    plain = hierarchical_difference([average], [np.mean(others, axis=0)], mean, "mean", seed=9)
    assert (pair.difference, pair.low, pair.high, pair.p) == pytest.approx(
        (plain.difference, plain.low, plain.high, plain.p)
    )
