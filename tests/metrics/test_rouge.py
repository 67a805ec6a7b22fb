"""ROUGE of summarisation: rouge_score's values, the authors' average by batch, the plain mean."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from repro.metrics.rouge import Rouge
from repro.metrics.rouge_corpus import CorpusRouge

_texts = st.lists(st.sampled_from(["cats", "cat", "running", "run", "the", ",", "London"]), max_size=8).map(" ".join)
_pairs = st.lists(st.tuples(_texts, _texts), min_size=1, max_size=7)
KINDS = ("rouge1", "rouge2", "rougeL")


@given(_pairs, st.integers(1, 4))
def test_by_batch_and_plain_from_rouge_score(pairs: list[tuple[str, str]], size: int) -> None:
    outputs, references = [output for output, _ in pairs], [[reference] for _, reference in pairs]
    scorer = RougeScorer(list(KINDS), use_stemmer=True)
    each = [[scorer.score(reference, output)[kind].fmeasure for kind in KINDS] for output, reference in pairs]
    batches = [np.mean(each[start : start + size], axis=0) for start in range(0, len(each), size)]
    by_batch, _ = Rouge(size).score_split(outputs, references)
    plain, _ = CorpusRouge().score_split(outputs, references)
    assert list(by_batch.values()) == pytest.approx(list(100 * np.mean(batches, axis=0)), abs=1e-9)
    assert list(plain.values()) == pytest.approx(list(100 * np.mean(each, axis=0)), abs=1e-9)
    assert (tuple(by_batch), tuple(plain)) == (Rouge.outputs, CorpusRouge.outputs)


@given(st.lists(st.sampled_from(["red", "lion", "pub"]), max_size=6), st.lists(st.sampled_from(["red", "lion"])))
def test_rouge_1_by_its_definition(output: list[str], reference: list[str]) -> None:
    common = (Counter(output) & Counter(reference)).total()
    wanted = 2 * common / (len(output) + len(reference)) if common else 0.0
    assert CorpusRouge().score(" ".join(output), [" ".join(reference)])[0] == pytest.approx(wanted)


def test_only_a_smaller_last_batch_makes_them_differ() -> None:
    outputs, references = ["cat", "cat", "dog"], [["cat"], ["cat"], ["cat"]]
    assert Rouge(2).score_split(outputs, references)[0]["rouge1"] == pytest.approx(50.0)
    assert CorpusRouge().score_split(outputs, references)[0]["rouge1_corpus"] == pytest.approx(200 / 3)
    assert Rouge(3).score_split(outputs, references)[0]["rouge1"] == pytest.approx(200 / 3)


def test_words_are_stemmed_and_newlines_do_not_split_rouge_l() -> None:
    assert CorpusRouge().score("cats running", ["cat runs"])[0] == 1.0
    # Summary-level ROUGE-L would take the union over lines: both lines match wholly.
    assert CorpusRouge().score("a b\nc d", ["c d\na b"])[2] == pytest.approx(0.5)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 summary"):
        Rouge(0)
