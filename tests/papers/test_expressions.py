"""The predicate language: against Python where every number is known, against all completions where some are not."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.errors import DataError
from repro.papers.expressions import FUNCTIONS, Evaluation

SETS = {"keys": ["a", "b", "c"], "numbers": [1, 2, 5]}
VALUES = st.fixed_dictionaries({key: st.integers(-3, 3) for key in "abc"})
# Written so that Python and the language read them alike once v is a dict and keys are quoted.
SHARED = [
    "v['a'] > v['b']",
    "v['a'] <= v['b'] + 1 < v['c'] * 2",
    "all(v[k] > 0 for k in keys)",
    "any(v[k] == v['a'] for k in keys if k != 'a')",
    "not (v['a'] - v['b'] >= v['c'] or v['a'] / 2 > 1 and v['b'] < 0)",
    "sum(v[k] - v[m] for k in keys for m in keys if k != m) == 0",
    "max(v[k] for k in keys) - min([v['a'], v['b']]) >= 1",
    "abs(v['a'] - v['b']) <= 2",
    "-v['a'] < v['b']",
]


def evaluation(values: dict[str, float | None]) -> Evaluation:
    return Evaluation(lambda family, keys: values[keys[0]], SETS)


@pytest.mark.parametrize("text", SHARED)
@given(values=VALUES)
def test_known_numbers_give_what_python_gives(text: str, values: dict[str, int]) -> None:
    found = evaluation(values).truth(text)
    expected = eval(text, {"v": values, **SETS})
    assert (bool(found.true[0]), bool(found.false[0])) == (expected, not expected)


@pytest.mark.parametrize("text", SHARED)
@given(values=VALUES, gone=st.sets(st.sampled_from("abc"), min_size=1))
def test_missing_numbers_leave_only_what_holds_for_all_of_them(
    text: str, values: dict[str, int], gone: set[str]
) -> None:
    """Sound: what is said to be true is so for every value of what is missing, and likewise for false."""
    found = evaluation({key: None if key in gone else value for key, value in values.items()}).truth(text)
    said = {
        bool(eval(text, {"v": {**values, **dict(zip(gone, filled, strict=True))}, **SETS}))
        for filled in itertools.product(range(-9, 10, 3), repeat=len(gone))
    }
    assert not found.true[0] or said == {True}
    assert not found.false[0] or said == {False}


def test_a_refuted_case_refutes_although_others_are_missing() -> None:
    found = evaluation({"a": -1, "b": None, "c": None})
    truth = found.truth("all(v[k] > 0 for k in keys)")
    assert truth.false[0] and found.exceptions == [{"k": "a"}]
    unknown = evaluation({"a": 1, "b": None, "c": 1}).truth("all(v[k] > 0 for k in keys)")
    assert not unknown.true[0] and not unknown.false[0]


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6))
def test_functions_are_those_of_the_standard_library(values: list[int]) -> None:
    found = Evaluation(lambda family, keys: values[keys[0]], {"i": list(range(len(values)))})

    def number(text: str) -> float:
        value = found.value(text)
        assert value.low[0] == value.high[0]
        return float(value.low[0])

    assert number("mean(v[k] for k in i)") == pytest.approx(statistics.mean(values))
    assert number("std(v[k] for k in i)") == pytest.approx(statistics.stdev(values))
    assert number("count(v[k] > 0 for k in i)") == sum(value > 0 for value in values)
    assert number("argmax((k, v[k]) for k in i)") == values.index(max(values))
    falls = bool(found.truth("decreasing(v[k] for k in i)").true[0])
    assert falls == all(a > b for a, b in itertools.pairwise(values))


def test_counts_and_means_over_missing_numbers_are_ranges() -> None:
    found = evaluation({"a": 1, "b": None, "c": -1})
    count = found.value("count(v[k] > 0 for k in keys)")
    assert (count.low[0], count.high[0]) == (1, 2)
    assert found.truth("count(v[k] > 0 for k in keys) >= 1").true[0]
    assert found.truth("count(v[k] > 0 for k in keys) > 2").false[0]
    mean = found.value("mean(v[k] for k in keys)")
    assert (mean.low[0], mean.high[0]) == (-np.inf, np.inf)
    assert np.isinf(found.value("argmax((1, v[k]) for k in keys)").high[0])


def test_draws_are_judged_one_by_one() -> None:
    found = Evaluation(lambda family, keys: np.array([1.0, 2.0, 3.0]), SETS, draws=3)
    truth = found.truth("v[a] > 1.5")
    assert truth.true.tolist() == [False, True, True] and truth.false.tolist() == [True, False, False]
    # The same cell twice is the same number in each draw.
    assert found.truth("v[a] - v[a] == 0").true.all()


def test_rounding_is_forgiven_on_the_edge_only() -> None:
    found = evaluation({"a": 72.2, "b": 72.1, "c": 0.1})
    assert found.truth("v[a] - v[b] <= 0.1").true[0] and found.truth("v[a] - v[b] == v[c]").true[0]
    assert found.truth("v[a] - v[b] > 0.1").false[0]
    assert found.truth("v[a] - v[b] < 0.1001").true[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('true') > 0", "may not contain"),
        ("v[a].real > 0", "may not contain"),
        ("(lambda: 1)() > 0", "may not contain"),
        ("open(a) > 0", "may not contain"),
        ("v[a] ** 2 > 0", "may not contain"),
        ("v[a] != v[b]", "may not compare"),
        ("v[a] is v[b]", "may not compare"),
        ("v[a", "cannot be read"),
        ("v[a] - v[b]", "neither true nor false"),
        ("a > 1", "needs numbers"),
        ("all(v[k] > 0 for k in nothing)", "runs over a set"),
        ("all(v[k] > 0 for k in keys if v[k] > 1)", "compares two names"),
        ("all(v[k] > 0 for k in keys if k == zzz)", "no case at all"),
        ("mean([]) > 0", "at least one element"),
        ("all(v[k] > 0 for (k, m) in keys)", "binds one name"),
        ("True", "may not contain"),
    ],
)
def test_anything_else_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluation({"a": 1, "b": 2, "c": 3}).truth(text)


def test_every_function_is_tried_here() -> None:
    tried = " ".join(SHARED) + " mean( std( count( argmax( decreasing("
    assert all(f"{name}(" in tried for name in FUNCTIONS)
