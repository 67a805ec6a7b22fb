"""Macro F1 against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from repro.metrics.base import Metric
from repro.metrics.f1_macro import MacroF1


@st.composite
def labelled(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """A number of classes and (prediction, gold) rows; few rows, so that classes without gold and prediction occur."""
    classes = draw(st.integers(2, 5))
    row = st.tuples(st.integers(-1, classes - 1), st.integers(0, classes - 1))
    return classes, draw(st.lists(row, min_size=1, max_size=20))


def value(classes: int, rows: list[tuple[int, int]]) -> float:
    metric: Metric = MacroF1(classes=classes)
    return metric.reduce(np.array([metric.score(prediction, [gold]) for prediction, gold in rows]))["f1_macro"]


@given(labelled())
def test_equals_sklearn(case: tuple[int, list[tuple[int, int]]]) -> None:
    classes, rows = case
    predictions, golds = zip(*rows, strict=True)
    expected = f1_score(golds, predictions, average="macro", labels=range(classes), zero_division=0)
    assert value(classes, rows) == pytest.approx(100 * expected, abs=1e-10)


def test_by_hand() -> None:
    # Class 0: F1 1; class 1: one found, one lost to class 2: 2/3; class 2: one false positive, nothing found: 0.
    assert value(3, [(0, 0), (1, 1), (2, 1)]) == pytest.approx(100 * (1 + 2 / 3) / 3)


def test_an_output_without_class_costs_the_gold_class_only() -> None:
    assert MacroF1(classes=3).score(-1, [1]) == [0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert MacroF1(classes=3).score(2, [1]) == [0, 0, 0, 0, 0, 1, 0, 1, 0]
    assert MacroF1(classes=3).score(1, [1]) == [0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_a_class_that_never_occurs_counts_as_zero() -> None:
    assert value(3, [(0, 0), (1, 1)]) == pytest.approx(200 / 3)


@pytest.mark.parametrize(("prediction", "references"), [(0, []), (0, [0, 1]), (3, [0]), (-2, [0]), (0, [3]), (0, [-1])])
def test_ids_that_are_no_class_are_refused(prediction: int, references: list[int]) -> None:
    with pytest.raises(ValueError, match="f1_macro"):
        MacroF1(classes=3).score(prediction, references)


def test_fewer_than_two_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        MacroF1(classes=1)


def test_it_names_itself_and_its_reference_scorer() -> None:
    metric = MacroF1(classes=3)
    assert (metric.name, metric.outputs, metric.higher_is_better) == ("f1_macro", ("f1_macro",), True)
    assert "scikit-learn" in metric.equals
