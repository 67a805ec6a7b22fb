"""How a split is scored: `prepare`, `score_all` and `corpus` where a metric has them, and what every `reduce` obeys."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from repro.errors import MetricUnavailable
from repro.metrics.accuracy import Accuracy
from repro.metrics.as_evaluate import METRICS, metric
from repro.metrics.base import score_split, texts, why_unavailable
from repro.papers.statistics import paired_bootstrap

LENGTHS = {"accuracy": 2, "macro_f1": 6, "span_f1": 3, "squad": 3, "squad_v2": 6, "bleu": 10, "nist": 11, "meteor": 6}
LENGTHS |= {"f1": 3, "multirc": 5, "record": 3, "srl_f1_conll05": 3, "precision_at_1": 2, "moverscore": 2}
LENGTHS |= {"ter": 2, "rouge_l": 2, "cider": 2, "rouge": 4, "corpus": 4, "bertscore": 2, "bleurt": 2}


class Prepared:
    """Counts in the references of the split how often an output occurs; everything optional is there."""

    name, equals, outputs, higher_is_better = "seen", "nothing", ("seen",), True

    def __init__(self, words: tuple[str, ...] | None = None) -> None:
        self.words = words

    def prepare(self, references: Sequence[Sequence[str]]) -> "Prepared":
        return Prepared(tuple(text for own in references for text in own))

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[int]]:
        assert self.words is not None
        return [[self.words.count(output), 1] for output in predictions]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        seen, count = statistics.sum(axis=0)
        return {"seen": float(seen / count)}


class Corpus:
    """Only the value of a split."""

    name, equals, outputs, higher_is_better = "share", "nothing", ("share",), True

    def corpus(self, predictions: Sequence[Any], references: Sequence[Sequence[Any]]) -> dict[str, float]:
        return {"share": float(len(predictions))}

    def unavailable(self) -> str:
        return "no reason"


def test_it_is_bound_to_the_references_first_and_scores_all_at_once() -> None:
    values, rows = score_split(Prepared(), ["a", "b"], [["a", "b"], ["b", "c"]])
    assert (values, rows) == ({"seen": 1.5}, [[1.0, 1.0], [2.0, 1.0]])


def test_without_more_each_example_is_scored() -> None:
    assert score_split(Accuracy(), [1, 0], [[1], [1]]) == ({"accuracy": 50.0}, [[1.0, 1.0], [0.0, 1.0]])


def test_a_value_of_the_split_alone_has_no_statistics() -> None:
    assert score_split(Corpus(), [1, 2], [[1], [1]]) == ({"share": 2.0}, None)
    assert (why_unavailable(Corpus()), why_unavailable(Accuracy())) == ("no reason", None)


def test_unequal_lengths_are_no_split() -> None:
    with pytest.raises(ValueError, match="zip"):
        score_split(Accuracy(), [1], [[1], [1]])


def test_texts_leave_padding_out_and_refuse_nothing() -> None:
    assert texts("x", [None, "a", "", "b"], 2) == ["a", ""]
    with pytest.raises(ValueError, match="x: an output has no reference text"):
        texts("x", [None])


@pytest.mark.parametrize("name", [name for name in METRICS if name != "squad_v2_tuned"])
def test_every_value_depends_on_the_sums_only_so_that_a_bootstrap_may_draw_them(name: str) -> None:
    made = metric(name, **({"classes": 2} if name == "macro_f1" else {}))
    length = LENGTHS.get(name) or next(LENGTHS[end] for end in LENGTHS if name.endswith(end))
    rows = np.random.default_rng(3).integers(1, 9, size=(7, length)).astype(float)
    whole, summed = made.reduce(rows), made.reduce(rows.sum(axis=0)[None])
    assert tuple(whole) == made.outputs
    assert whole == pytest.approx(summed)
    assert len({made.reduce(rows[:count])[made.outputs[0]] for count in (1, 2, 5)}) > 1  # it depends on the rows at all
    same = paired_bootstrap(rows, rows.copy(), made.reduce, made.outputs[0], resamples=20)
    assert same.difference == 0


def test_the_one_that_needs_every_row_says_so() -> None:
    rows = np.array([[1.0, 1.0, 0.0, -1.0], [0.0, 0.0, 1.0, 2.0], [1.0, 0.0, 0.0, 3.0]])
    for name in METRICS:
        made = metric(name, **({"classes": 2} if name == "macro_f1" else {}))
        assert getattr(made, "every_row", False) == (name == "squad_v2_tuned")
    tuned = metric("squad_v2_tuned")
    assert tuned.reduce(rows) != pytest.approx(tuned.reduce(rows.sum(axis=0)[None]))


def test_unavailable_is_an_error_that_says_what_to_do() -> None:
    assert MetricUnavailable("no Java").exit_code == 2
