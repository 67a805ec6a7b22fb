"""How a split is scored, and what every `reduce` obeys."""

from collections.abc import Sequence

import numpy as np
import pytest

from repro.errors import MetricUnavailable
from repro.metrics.accuracy import Accuracy
from repro.metrics.base import Metric, texts
from repro.metrics.registry import metric, names
from repro.papers.statistics.bootstrap import hierarchical_difference

REDUCED = [name for name in names() if name != "from_evaluate"]
OPTIONS = {"f1_macro": {"classes": 2}}
LENGTHS = {"accuracy": 2, "f1_macro": 6, "squad": 3, "squad_v2": 6, "nist": 11, "meteor": 6, "f1": 3, "multirc": 5}
LENGTHS |= {"record": 3, "srl_f1_conll05": 3, "precision_at_1": 2, "ter": 2, "rouge_l_coco": 2, "cider": 2, "rouge": 4}
LENGTHS |= {"rouge_corpus": 4, "bertscore": 2, "bleurt": 2, "span_f1": 3, "strict_span_f1": 3}
LENGTHS |= dict.fromkeys(("e2e_bleu", "multi_bleu", "webnlg_bleu", "dart_bleu"), 10)


class Seen(Metric[str, str]):
    """Counts in the references of the split how often an output occurs."""

    name, equals, outputs = "seen", "nothing", ("seen",)

    def __init__(self, words: tuple[str, ...] | None = None) -> None:
        self.words = words

    def bound(self, references: Sequence[Sequence[str]]) -> "Seen":
        return Seen(tuple(text for own in references for text in own))

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[int]]:
        assert self.words is not None
        return [[self.words.count(output), 1] for output in predictions]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        seen, count = statistics.sum(axis=0)
        return {"seen": float(seen / count)}


def test_it_is_bound_to_the_references_first_and_scores_all_at_once() -> None:
    values, rows = Seen().score_split(["a", "b"], [["a", "b"], ["b", "c"]])
    assert (values, rows) == ({"seen": 1.5}, [[1.0, 1.0], [2.0, 1.0]])


def test_without_more_each_example_is_scored() -> None:
    assert Accuracy().score_split([1, 0], [[1], [1]]) == ({"accuracy": 50.0}, [[1.0, 1.0], [0.0, 1.0]])


def test_unequal_lengths_are_no_split() -> None:
    with pytest.raises(ValueError, match="zip"):
        Accuracy().score_split([1], [[1], [1]])


def test_texts_leave_padding_out_and_refuse_nothing() -> None:
    assert texts("x", [None, "a", "", "b"], 2) == ["a", ""]
    with pytest.raises(ValueError, match="x: an output has no reference text"):
        texts("x", [None])


@pytest.mark.parametrize("name", [name for name in REDUCED if name != "squad_v2_tuned"])
def test_every_value_depends_on_the_sums_only_so_that_a_bootstrap_may_draw_them(name: str) -> None:
    made = metric(name, **OPTIONS.get(name, {}))
    rows = np.random.default_rng(3).integers(1, 9, size=(7, LENGTHS[name])).astype(float)
    whole, summed = made.reduce(rows), made.reduce(rows.sum(axis=0)[None])
    assert tuple(whole) == made.outputs
    assert whole == pytest.approx(summed)
    assert len({made.reduce(rows[:count])[made.outputs[0]] for count in (1, 2, 5)}) > 1  # it depends on the rows at all
    same = hierarchical_difference([rows], [rows.copy()], made.reduce, made.outputs[0], resamples=20)
    assert same.difference == 0


def test_the_one_that_needs_every_row_says_so() -> None:
    rows = np.array([[1.0, 1.0, 0.0, -1.0], [0.0, 0.0, 1.0, 2.0], [1.0, 0.0, 0.0, 3.0]])
    for name in REDUCED:
        made = metric(name, **OPTIONS.get(name, {}))
        assert made.every_row == (name == "squad_v2_tuned")
    tuned = metric("squad_v2_tuned")
    assert tuned.reduce(rows) != pytest.approx(tuned.reduce(rows.sum(axis=0)[None]))


def test_unavailable_is_an_error_that_says_what_to_do() -> None:
    assert MetricUnavailable("no Java").exit_code == 2
