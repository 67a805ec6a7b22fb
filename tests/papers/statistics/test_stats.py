"""Intervals and verdicts against scipy and closed forms."""

import math
from collections.abc import Callable, Sequence
from statistics import stdev

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from repro.papers import statistics
from repro.papers.statistics.bootstrap import PairedDifference, hierarchical_difference
from repro.papers.statistics.intervals import VERDICTS, equivalence, summary

lists_of_values = st.lists(st.floats(0, 100), min_size=2, max_size=12)


def mean(statistics: np.ndarray) -> dict[str, float]:
    """The mean of column 0, as a metric whose statistics are [value, 1]."""
    total, count = np.asarray(statistics).sum(axis=0)
    return {"mean": float(total / count)}


def ratio(statistics: np.ndarray) -> dict[str, float]:
    """A value that is no mean over examples: F1 from [correct, predicted, gold]."""
    correct, predicted, gold = np.asarray(statistics).sum(axis=0)
    return {"f1": float(200 * correct / (predicted + gold))}


def with_count(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Statistics [N, 2] = [value, 1]."""
    return np.stack([np.asarray(values, dtype=float), np.ones(len(values))], axis=1)


# --- summary -------------------------------------------------------------------------------------------------------


@given(lists_of_values, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_summary_is_the_t_interval_of_scipy(values: list[float], level: float) -> None:
    result = summary(values, level=level)
    assert result.n == len(values)
    assert result.mean == pytest.approx(np.mean(values))
    assert result.std == pytest.approx(stdev(values))
    half = scipy.stats.t.ppf((1 + level) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    assert result.low == pytest.approx(np.mean(values) - half, abs=1e-9)
    assert result.high == pytest.approx(np.mean(values) + half, abs=1e-9)


def test_summary_by_hand() -> None:
    # The 97.5 % quantile of Student's t with 2 degrees of freedom is 4.30265; the standard error is 1 / sqrt(3).
    result = summary([1.0, 2.0, 3.0])
    assert (result.n, result.mean, result.std) == (3, 2.0, 1.0)
    assert result.low == pytest.approx(2 - 4.302652729911275 / math.sqrt(3))
    assert result.high == pytest.approx(2 + 4.302652729911275 / math.sqrt(3))


def test_one_value_has_no_spread() -> None:
    assert summary([71.5]) == statistics.Summary(n=1, mean=71.5, std=None, low=None, high=None)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_summary_refuses_what_is_no_value(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one finite number"):
        summary(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_a_share(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        summary([1.0, 2.0], level=level)


# --- equivalence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "tolerance", "verdict"),
    [  # the interval of [1, 2, 3] is [-0.484, 4.484]
        (2.0, 2.5, "reproduced"),
        (2.0, 2.4, "close"),
        (2.0, 0.0, "close"),
        (7.0, 2.6, "close"),
        (7.0, 2.5, "below"),
        (-3.0, 2.5, "above"),
        (-3.0, 2.6, "close"),
    ],
)
def test_verdict_of_several_runs(theirs: float, tolerance: float, verdict: str) -> None:
    assert equivalence([1.0, 2.0, 3.0], theirs, tolerance) == verdict


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [  # in binary, 72.1 + 0.1 < 72.2 and 72.2 - 0.1 > 72.1
        (72.2, 72.1, "reproduced"),
        (72.1, 72.2, "reproduced"),
        (72.21, 72.1, "above"),
        (71.99, 72.1, "below"),
    ],
)
def test_verdict_of_one_run_is_its_value(ours: float, theirs: float, verdict: str) -> None:
    assert equivalence([ours], theirs, tolerance=0.1) == verdict


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6), st.floats(0, 100), st.floats(0, 50))
def test_verdict_mirrors(values: list[float], theirs: float, tolerance: float) -> None:
    verdict = equivalence(values, theirs, tolerance)
    mirrored = equivalence([-value for value in values], -theirs, tolerance)
    assert verdict in VERDICTS
    assert mirrored == {"above": "below", "below": "above"}.get(verdict, verdict)


@given(
    st.lists(st.integers(0, 20), min_size=3, max_size=6).filter(lambda values: len(set(values)) > 1), st.floats(0, 60)
)
def test_reproduced_is_two_one_sided_t_tests(values: list[int], tolerance: float) -> None:
    # The interval lies inside just when both one-sided tests reject at 2.5 %.
    tests = [(10 - tolerance, "greater"), (10 + tolerance, "less")]
    p = max(scipy.stats.ttest_1samp(values, edge, alternative=side).pvalue for edge, side in tests)
    assume(abs(p - 0.025) > 1e-6)
    assert (equivalence(values, 10.0, tolerance) == "reproduced") == (p < 0.025)


@pytest.mark.parametrize(("theirs", "tolerance"), [(1.0, -0.1), (float("nan"), 0.1), (1.0, float("nan"))])
def test_equivalence_refuses_what_is_no_tolerance(theirs: float, tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance of at least 0"):
        equivalence([1.0], theirs, tolerance)


def paired(a: np.ndarray, b: np.ndarray, reduce: Callable, name: str, **options: object) -> PairedDifference:
    return hierarchical_difference([a], [b], reduce, name, **options)


def alone(statistics: np.ndarray, reduce: Callable, name: str, **options: object) -> PairedDifference:
    """Of one system: its difference from one that is 0 on every example."""
    nothing = np.ones_like(statistics)
    nothing[:, 0] = 0
    return paired(statistics, nothing, reduce, name, **options)


# --- one run a side --------------------------------------------------------------------------------------------------


def test_bootstrap_of_a_mean_is_the_normal_interval() -> None:
    values = np.random.default_rng(3).normal(50, 10, size=400)
    result = alone(with_count(values), mean, "mean", resamples=4000, seed=1)
    half = 1.959964 * values.std() / math.sqrt(len(values))
    assert result.difference == pytest.approx(values.mean())
    assert result.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert result.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_of_a_ratio_is_scipys() -> None:
    generator = np.random.default_rng(4)
    gold = generator.integers(1, 6, size=150)
    statistics = np.stack([generator.binomial(gold, 0.7), generator.integers(1, 6, size=150), gold], axis=1)
    result = alone(statistics, ratio, "f1", resamples=3000, seed=1, level=0.9)
    expected = scipy.stats.bootstrap(
        tuple(statistics.T),
        lambda c, p, g, axis: 200 * c.sum(axis) / (p.sum(axis) + g.sum(axis)),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=3000,
        confidence_level=0.9,
        rng=np.random.default_rng(2),
    ).confidence_interval
    width = expected.high - expected.low
    assert result.difference == pytest.approx(ratio(statistics)["f1"])
    assert result.low == pytest.approx(expected.low, abs=0.08 * width)
    assert result.high == pytest.approx(expected.high, abs=0.08 * width)


def test_bootstrap_equals_the_rows_drawn_one_by_one() -> None:
    # The weights are a short cut for scoring the drawn rows: with the same draws the interval is the same.
    statistics = np.random.default_rng(5).integers(1, 9, size=(20, 3))
    generator = np.random.default_rng(7)
    drawn = [ratio(statistics[generator.integers(20, size=20)])["f1"] for _ in range(50)]
    result = alone(statistics, ratio, "f1", resamples=50, seed=7)
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_bootstrap_depends_on_the_seed_and_not_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = with_count(np.arange(30.0))
    first = alone(statistics, mean, "mean", resamples=100, seed=1)
    assert alone(statistics, mean, "mean", resamples=100, seed=2) != first
    monkeypatch.setattr("repro.papers.statistics.bootstrap._BLOCK_ELEMENTS", 100)
    assert alone(statistics, mean, "mean", resamples=100, seed=1) == first


def test_bootstrap_refuses_what_it_cannot_resample() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        paired(np.zeros((0, 2)), np.zeros((0, 2)), mean, "mean")
    with pytest.raises(ValueError, match="at least one row"):
        paired(np.ones(3), np.ones(3), mean, "mean")
    with pytest.raises(ValueError, match="at least 1 resample"):
        alone(np.ones((3, 2)), mean, "mean", resamples=0)
    with pytest.raises(ValueError, match="no value 'f1'; it has mean"):
        alone(np.ones((3, 2)), mean, "f1")


@pytest.mark.parametrize("shift", [0.5, 1.0, 1.5, -1.0])
def test_paired_bootstrap_of_means_is_the_paired_t_test(shift: float) -> None:
    generator = np.random.default_rng(8)
    b = generator.normal(50, 20, size=500)
    noise = generator.normal(0, 10, size=500)
    a = b + shift + noise - noise.mean()
    result = paired(with_count(a), with_count(b), mean, "mean", resamples=5000, seed=1)
    expected = scipy.stats.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    assert result.difference == pytest.approx(shift)
    assert result.p == pytest.approx(expected.pvalue, abs=0.02)
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.1)


def test_paired_bootstrap_is_antisymmetric() -> None:
    generator = np.random.default_rng(9)
    a, b = generator.integers(1, 9, size=(2, 60, 3))
    forth = paired(a, b, ratio, "f1", resamples=300, seed=2)
    back = paired(b, a, ratio, "f1", resamples=300, seed=2)
    assert forth.difference == pytest.approx(ratio(a)["f1"] - ratio(b)["f1"])
    assert (back.difference, back.low, back.high) == pytest.approx((-forth.difference, -forth.high, -forth.low))
    assert back.p == forth.p


def test_equal_systems_do_not_differ() -> None:
    fractions = with_count(np.random.default_rng(10).random(101))
    result = paired(fractions, fractions, mean, "mean", resamples=200)
    assert (result.difference, result.low, result.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert result.p == 1.0


def test_a_constant_gain_has_the_smallest_p() -> None:
    values = np.arange(40.0)
    result = paired(with_count(values + 1), with_count(values), mean, "mean", resamples=199)
    assert (result.difference, result.low, result.high) == pytest.approx((1, 1, 1))
    assert result.p == pytest.approx(2 / 200)
