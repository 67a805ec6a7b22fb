"""F1a and exact match of MultiRC, with T5's rules written out over all answers at once."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from repro.evaluation.scoring import score
from repro.metrics.base import Metric
from repro.metrics.multirc import MultircF1aEm
from repro.tasks.base import Example, Task

ANSWERS = st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=25)
"""(prediction, gold, question) of answers; those of a question need not stand side by side."""


class Toy(Task):
    """A task that only scores."""

    formats, format, labels, metrics = ("pair",), "pair", ("False", "True"), (MultircF1aEm(),)

    def __init__(self) -> None:
        """Nothing to set up."""


def written_out(rows: list[tuple[int, int, int]]) -> dict[str, float]:
    golds = np.array([gold for _, gold, _ in rows])
    said = np.array([prediction for prediction, _, _ in rows])
    turned = np.where((said == 0) | (said == 1), said, 1 - golds)
    right = [all(p == g for p, g, other in rows if other == question) for question in {row[2] for row in rows}]
    return {"f1a": 100 * f1_score(golds, turned, zero_division=0), "exact_match": 100 * float(np.mean(right))}


def examples_of(rows: list[tuple[int, int, int]]) -> list[Example]:
    return [
        Example(str(index), {}, (gold,), cluster=f"p{question // 2}", group=f"q{question}")
        for index, (_, gold, question) in enumerate(rows)
    ]


@given(ANSWERS)
def test_equals_the_rules_written_out(rows: list[tuple[int, int, int]]) -> None:
    task: Any = Toy()
    found = score(task, examples_of(rows), [row[0] for row in rows])
    expected = written_out(rows)
    assert {name: found.values[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert found.values["task_score"] == pytest.approx(sum(expected.values()) / 2)


@given(ANSWERS)
def test_statistics_stay_one_row_an_answer_and_add_up_over_passages(rows: list[tuple[int, int, int]]) -> None:
    """Summing rows by cluster loses nothing: a bootstrap may draw passages."""
    task: Any = Toy()
    examples = examples_of(rows)
    statistics = np.array(score(task, examples, [row[0] for row in rows]).statistics["multirc"])
    assert statistics.shape == (len(rows), 5)
    clusters = {example.cluster for example in examples}
    summed = [
        np.sum([row for row, example in zip(statistics, examples, strict=True) if example.cluster == cluster], axis=0)
        for cluster in clusters
    ]
    metric: Metric = MultircF1aEm()
    assert metric.reduce(np.array(summed)) == pytest.approx(written_out(rows), abs=1e-9)
    assert statistics[:, 4].sum() == len({row[2] for row in rows})


def test_by_hand() -> None:
    metric = MultircF1aEm()
    questions = [metric.score([1, 0], [[1, 0]]), metric.score([1, -1, 0], [[1, 1, 1]])]
    assert questions == [[1, 0, 0, 1, 1], [1, 0, 2, 0, 1]]
    assert metric.reduce(np.array(questions)) == {"f1a": pytest.approx(200 * 2 / 6), "exact_match": 50.0}


@pytest.mark.parametrize(("said", "golds"), [([1], [[1, 0]]), ([], [[]]), ([1], []), ([1], [[1], [1]]), ([2], [[1]])])
def test_what_is_no_question_is_refused(said: list[int], golds: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"multirc|f1"):
        MultircF1aEm().score(said, golds)
