"""NIST equals pymteval: its golden value, and its definition written out on made-up corpora."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from repro.metrics.base import Metric
from repro.metrics.nist import Nist

_words = st.sampled_from(["red", "the", "lion", "cheap", "pub", ",", ".", "5.5"])
_texts = st.lists(_words, min_size=1, max_size=9).map(" ".join)
_corpora = st.lists(st.tuples(_texts, st.lists(_texts, min_size=1, max_size=3)), min_size=1, max_size=4)


def ngrams_of(tokens: list[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)]


def written_out(corpus: list[tuple[str, list[str]]]) -> float:
    """NIST-5 from its definition; the texts have spaces between 13a tokens already, in lower case."""
    every = [reference.split() for _, references in corpus for reference in references]
    count = Counter(ngram for tokens in every for order in range(1, 6) for ngram in ngrams_of(tokens, order))
    words = sum(len(tokens) for tokens in every)

    def information(ngram: tuple[str, ...]) -> float:
        before = count[ngram[:-1]] if len(ngram) > 1 else words
        return math.log2(before / count[ngram])

    total = 0.0
    for order in range(1, 6):
        gained, length = 0.0, 0
        for output, references in corpus:
            tokens = output.split()
            length += len(tokens) - order + 1
            for ngram, times in Counter(ngrams_of(tokens, order)).items():
                most = max(ngrams_of(reference.split(), order).count(ngram) for reference in references)
                gained += min(times, most) * information(ngram) if most else 0.0
        total += gained / length if length else 0.0
    ours = sum(len(output.split()) for output, _ in corpus)
    theirs = sum(sum(len(text.split()) for text in own) / len(own) for _, own in corpus)
    beta = math.log(0.5) / math.log(2 / 3) ** 2
    return total * math.exp(beta * math.log(min(1.0, ours / theirs)) ** 2)


@given(_corpora)
@example([("red", ["red"]), ("red red red", ["red red red"])])  # an order whose lengths add up to 0
def test_equals_its_definition(corpus: list[tuple[str, list[str]]]) -> None:
    outputs, references = [output for output, _ in corpus], [own for _, own in corpus]
    values, _ = Nist().score_split(outputs, references)
    assert values["nist"] == pytest.approx(written_out(corpus), abs=1e-9)


def test_golden_value_of_pymteval(golden_e2e) -> None:
    values, rows = Nist().score_split(*golden_e2e)
    assert values["nist"] == pytest.approx(7.788887609555574, abs=1e-12)
    assert Nist().reduce(np.array(rows))["nist"] == pytest.approx(values["nist"])


def test_information_comes_from_the_bound_references_whatever_the_outputs() -> None:
    references = [["a b", "a c"], ["b b"]]
    bound: Metric = Nist().bound(references)
    assert bound.score("a", references[0])[0] == pytest.approx(math.log2(6 / 2))
    assert bound.score("b", references[0])[0] == pytest.approx(math.log2(6 / 3))


def test_it_must_be_bound() -> None:
    with pytest.raises(ValueError, match="call bound"):
        Nist().score("a", ["a"])


def test_an_empty_output_is_one_token_and_nothing_divides_by_zero() -> None:
    values, rows = Nist().score_split([""], [["a b"]])
    assert values == {"nist": 0.0}
    assert rows is not None and rows[0][5:10] == [1, 0, -1, -2, -3]
