"""TER equals sacrebleu's on each example's own references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.ter import TER

from repro.metrics.ter import Ter

_texts = st.lists(st.sampled_from(["a", "b", "C", "red", "lion", ","]), min_size=1, max_size=7).map(" ".join)
_corpora = st.lists(st.tuples(_texts, st.lists(_texts, min_size=1, max_size=3)), min_size=1, max_size=4)


@settings(max_examples=50)
@given(_corpora)
def test_equals_sacrebleu_without_padding(corpus: list[tuple[str, list[str]]]) -> None:
    outputs, references = [output for output, _ in corpus], [own for _, own in corpus]
    values, _ = Ter().score_split(outputs, [[*own, "", None] for own in references])
    width = max(map(len, references))
    columns = [[own[index] if index < len(own) else None for own in references] for index in range(width)]
    assert values["ter"] == pytest.approx(TER().corpus_score(outputs, columns).score, abs=1e-9)


def test_edits_by_hand() -> None:
    # One phrase moves: 1 edit. One word is missing: 1 edit. Lengths 4 and 3.
    values, rows = Ter().score_split(["c d a b", "x y"], [["a b c d"], ["x y z"]])
    assert rows == [[1, 4], [1, 3]]
    assert values["ter"] == pytest.approx(100 * 2 / 7)
    assert not Ter.higher_is_better


def test_length_is_the_mean_of_the_references_and_edits_the_fewest() -> None:
    assert Ter().score("a b", ["a b", "a b c d"]) == [0, 3]


def test_only_the_first_references_count_and_case_does_not() -> None:
    assert Ter(references=1).score("A b", ["a c", "a b"]) == [1, 2]
    assert Ter(references=2).score("A b", ["a c", "a b"]) == [0, 2]


def test_webnlg_text_splits_punctuation() -> None:
    assert Ter().score("a, b", ["a , b"])[0] > 0
    assert Ter("webnlg").score("A, b", ["a , b"])[0] == 0


def test_no_reference_is_refused_and_no_word_divides_nothing() -> None:
    with pytest.raises(ValueError, match="no reference text"):
        Ter().score("a", ["", None])
    assert Ter().reduce(np.array([[0.0, 0.0]])) == {"ter": 0.0}
    assert Ter().reduce(np.array([[2.0, 0.0]])) == {"ter": 100.0}


@pytest.mark.parametrize(("text", "references"), [("ptb", None), ("as_is", 0)])
def test_what_it_may_be_configured_with(text: str, references: int | None) -> None:
    with pytest.raises(ValueError, match="ter: "):
        Ter(text, references)
