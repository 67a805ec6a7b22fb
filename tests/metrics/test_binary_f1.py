"""F1 of class 1 against scikit-learn, with T5's rule for outputs that name no class written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from repro.metrics.base import Metric
from repro.metrics.f1 import BinaryF1

ROWS = st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 1)), min_size=1, max_size=20)


def value(rows: list[tuple[int, int]]) -> float:
    metric: Metric = BinaryF1()
    return metric.reduce(np.array([metric.score(prediction, [gold]) for prediction, gold in rows]))["f1"]


@given(ROWS)
def test_equals_sklearn_once_illegal_outputs_are_turned(rows: list[tuple[int, int]]) -> None:
    golds = [gold for _, gold in rows]
    said = [1 - gold if prediction == -1 else prediction for prediction, gold in rows]
    assert value(rows) == pytest.approx(100 * f1_score(golds, said, zero_division=0), abs=1e-10)


def test_by_hand() -> None:
    # One found, one invented, one missed: precision 1/2, recall 1/2.
    assert value([(1, 1), (1, 0), (0, 1), (0, 0)]) == 50.0
    assert value([(0, 0), (0, 0)]) == 0.0, "class 1 neither gold nor predicted"


@pytest.mark.parametrize(("gold", "statistics"), [(0, [0, 1, 0]), (1, [0, 0, 1])])
def test_an_output_without_class_is_the_wrong_class(gold: int, statistics: list[int]) -> None:
    assert BinaryF1().score(-1, [gold]) == statistics


@pytest.mark.parametrize(("prediction", "references"), [(2, [1]), (-2, [1]), (1, [2]), (1, []), (1, [1, 1])])
def test_what_is_no_class_is_refused(prediction: int, references: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^f1: "):
        BinaryF1().score(prediction, references)
