"""Accuracy against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from repro.metrics.accuracy import Accuracy
from repro.metrics.base import Metric

pairs = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3)), min_size=1, max_size=30)


@given(pairs)
def test_equals_sklearn(rows: list[tuple[int, int]]) -> None:
    metric: Metric = Accuracy()
    statistics = np.array([metric.score(prediction, [gold]) for prediction, gold in rows])
    predictions, golds = zip(*rows, strict=True)
    assert metric.reduce(statistics)["accuracy"] == pytest.approx(100 * accuracy_score(golds, predictions), abs=1e-12)


def test_an_output_without_class_is_wrong() -> None:
    # -1 in the references is an unlabelled row: it must not turn a missing class into a right one.
    assert Accuracy().score(-1, [0]) == [0, 1]
    assert Accuracy().score(-1, [-1]) == [0, 1]


def test_any_reference_counts() -> None:
    assert Accuracy().score(2, [1, 2]) == [1, 1]


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="no reference"):
        Accuracy().score(0, [])
    with pytest.raises(ValueError, match="no example"):
        Accuracy().reduce(np.zeros((0, 2)))


def test_it_names_itself_and_its_reference_scorer() -> None:
    metric = Accuracy()
    assert (metric.name, metric.outputs, metric.higher_is_better) == ("accuracy", ("accuracy",), True)
    assert "scikit-learn" in metric.equals
