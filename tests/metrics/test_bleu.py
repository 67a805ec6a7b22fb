"""E2E BLEU against sacrebleu, and against the value that e2e-metrics itself gives on its example files."""

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sacrebleu import corpus_bleu
from sacrebleu.metrics.bleu import BLEUScore

from repro.metrics.base import Metric
from repro.metrics.e2e_bleu import E2EBleu

DATA_ROOT = Path(os.environ.get("REPRO_DATA_ROOT") or Path(__file__).resolve().parents[3] / "shared" / "data")

Corpus = list[tuple[str, list[str | None]]]

# Few words, so that n-grams match; pieces that the tokeniser treats specially; upper and lower case.
_PIECES = [
    "the",
    "The",
    "RED",
    "red",
    "Lion",
    "cheap",
    "5.5",
    "3,000",
    "£20-25",
    "pub,",
    "it's",
    "&amp;",
    "-",
    ".",
    "é",
]
_texts = st.lists(st.sampled_from(_PIECES), max_size=12).map(" ".join) | st.text("aB ?.,-1\t&;é", max_size=12)


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """Outputs with one to four references each, padded with None to the same number, as sacrebleu wants them."""
    width = draw(st.integers(1, 4))
    corpus: Corpus = []
    for _ in range(draw(st.integers(1, 4))):
        present = draw(st.lists(_texts, min_size=1, max_size=width))
        near = st.sampled_from(present).map(lambda text: text + " cheap")  # or four-grams would hardly ever match
        corpus.append((draw(st.one_of(_texts, near)), [*present, *[None] * (width - len(present))]))
    return corpus


def ours(corpus: Corpus) -> float:
    metric: Metric = E2EBleu()
    return metric.reduce(np.array([metric.score(output, references) for output, references in corpus]))["bleu"]


def theirs(corpus: Corpus) -> BLEUScore:
    outputs, references = zip(*corpus, strict=True)
    columns = list(zip(*references, strict=True))
    return corpus_bleu(list(outputs), columns, lowercase=True, tokenize="13a", smooth_method="none", force=True)


@given(corpora())
@example([("", ["the red lion is cheap"])])
@example([("The RED Lion is cheap.", ["the red lion is cheap ."])])
def test_equals_sacrebleu(corpus: Corpus) -> None:
    assert ours(corpus) == pytest.approx(theirs(corpus).score, abs=1e-10)


@given(corpora())
def test_statistics_are_those_of_sacrebleu(corpus: Corpus) -> None:
    expected = theirs(corpus)
    sums = np.sum([E2EBleu().score(output, references) for output, references in corpus], axis=0)
    assert sums.tolist() == [expected.sys_len, expected.ref_len, *expected.counts, *expected.totals]


def example_files() -> Corpus:
    """The example of e2e-metrics: groups of references between blank lines, one output a line."""
    folder = DATA_ROOT / "golden_e2e"
    if not folder.is_dir():
        pytest.skip(f"no golden_e2e folder under {DATA_ROOT}; set REPRO_DATA_ROOT to the data folder")
    lines = (folder / "devel-conc.txt").read_text(encoding="utf-8").splitlines()
    outputs = (folder / "baseline-output.txt").read_text(encoding="utf-8").splitlines()
    # A byte-order mark would become part of the first word, and BLEU would be off by little.
    assert not any("\ufeff" in line for line in [*lines, *outputs])
    groups = [list(group) for filled, group in itertools.groupby(lines, key=lambda line: line.strip() != "") if filled]
    assert len(groups) == len(outputs) == 10
    return [(output, list(group)) for output, group in zip(outputs, groups, strict=True)]


def test_golden_value_of_e2e_metrics() -> None:
    assert ours(example_files()) == pytest.approx(72.02928494322162, abs=1e-10)


def test_case_and_tokens_by_hand() -> None:
    # Tokens: the lion , 5.5 pounds . -> all match whatever the case and the spaces.
    assert E2EBleu().score("The LION, 5.5 pounds.", ["the lion , 5.5 Pounds ."]) == [6, 6, 6, 5, 4, 3, 6, 5, 4, 3]


def test_the_shorter_of_two_equally_close_references_counts() -> None:
    assert E2EBleu().score("a b c", ["a b c d", "a b"])[:2] == [3, 2]


def test_matches_are_cut_at_the_largest_count_in_one_reference() -> None:
    # `a` occurs twice in one reference and once in the other: two of the four may match, not three.
    assert E2EBleu().score("a a a a", ["a a x", "a y"])[2] == 2


def test_brevity_penalty_closed_form() -> None:
    # All n-grams match, 4 tokens against 5: exp(1 - 5 / 4).
    assert ours([("a b c d", ["a b c d e"])]) == pytest.approx(100 * math.exp(-0.25))


def test_without_a_matching_fourgram_it_is_zero() -> None:
    assert ours([("a b c x d", ["a b c d"])]) == 0.0


@pytest.mark.parametrize("references", [[], [None, None]])
def test_an_output_without_reference_is_refused(references: list[str | None]) -> None:
    with pytest.raises(ValueError, match="no reference text"):
        E2EBleu().score("a", references)


def test_it_names_itself_and_its_reference_scorer() -> None:
    metric = E2EBleu()
    assert (metric.name, metric.outputs, metric.higher_is_better) == ("bleu", ("bleu",), True)
    assert "sacrebleu" in metric.equals
    assert "pymteval" in metric.equals
