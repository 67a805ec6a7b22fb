"""ROUGE-L and CIDEr-D of E2E against pycocoevalcap itself, their golden values, and the tokeniser that both read."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.errors import MetricUnavailable
from repro.metrics import ptb
from repro.metrics.cider import Cider
from repro.metrics.rouge_l_coco import CocoRougeL, coco_rouge_l, longest_common_subsequence

_words = st.lists(st.sampled_from(["a", "b", "c", "red", "lion"]), max_size=8).map(" ".join)
_examples = st.lists(st.tuples(_words, st.lists(_words, min_size=1, max_size=3)), min_size=1, max_size=5)


@pytest.fixture
def plain_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are their own tokens: no Java."""
    monkeypatch.setattr(ptb, "tokenised", list)


@given(_words, st.lists(_words, min_size=1, max_size=3))
def test_rouge_l_equals_pycocoevalcap(output: str, references: list[str]) -> None:
    rouge = pytest.importorskip("pycocoevalcap.rouge.rouge")
    assert coco_rouge_l(output, references) == pytest.approx(rouge.Rouge().calc_score([output], references), abs=1e-12)


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_longest_common_subsequence_by_recursion(first: str, second: str) -> None:
    def length(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        if first[i - 1] == second[j - 1]:
            return length(i - 1, j - 1) + 1
        return max(length(i - 1, j), length(i, j - 1))

    if len(first) + len(second) <= 10:
        assert longest_common_subsequence(first, second) == length(len(first), len(second))
    assert longest_common_subsequence(first, first + second) == len(first)


@given(_examples)
def test_cider_equals_pycocoevalcap(examples: list[tuple[str, list[str]]]) -> None:
    scorer = pytest.importorskip("pycocoevalcap.cider.cider_scorer").CiderScorer(n=4, sigma=6.0)
    for output, references in examples:
        scorer += (output, references)
    if not any(text for _, references in examples for text in references):
        return  # pycocoevalcap has no n-gram to count and stops
    mean, each = scorer.compute_score()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ptb, "tokenised", list)
        values, rows = Cider().score_split([output for output, _ in examples], [own for _, own in examples])
    assert values["cider"] == pytest.approx(mean, abs=1e-9)
    assert [row[0] for row in rows or []] == pytest.approx(list(each), abs=1e-9)


def test_cider_by_hand(plain_tokens: None) -> None:
    # Two examples; `a` is in one of them: idf ln 2. The output is its reference: cosine 1 in the one order it has.
    values, _ = Cider().score_split(["a", "c"], [["a"], ["b"]])
    assert values["cider"] == pytest.approx(10 * (1 / 4 + 0) / 2)
    with pytest.raises(ValueError, match="call bound"):
        Cider().score("a", ["a"])


def test_idf_is_that_of_the_references_whatever_the_outputs(plain_tokens: None) -> None:
    bound = Cider().bound([["a"], ["b"], ["b"]])
    assert bound._vector("a").norms[0] == pytest.approx(math.log(3))
    assert bound._vector("b").norms[0] == pytest.approx(math.log(3 / 2))
    assert bound._vector("x").norms[0] == pytest.approx(math.log(3))


def test_golden_values(golden_e2e, with_java: None) -> None:
    rouge, rows = CocoRougeL().score_split(*golden_e2e)
    assert round(rouge["rouge_l"] / 100, 4) == 0.7910
    cider, _ = Cider().score_split(*golden_e2e)
    assert round(cider["cider"], 4) == 2.3039
    assert CocoRougeL().reduce(np.array(rows)) == rouge


ODD = [
    "",
    "  ",
    "a\nb",
    "a\r\nb",
    "a\u2028b\x0bc\x85d",
    "it isn't £20-25 (approx.)…",
    "é “x”",
    "a ||| b",
    "\0",
    "\ud800x",
]


def test_the_tokeniser_keeps_one_line_a_text_whatever_is_in_it(with_java: None) -> None:
    ptb._seen.clear()
    found = ptb.tokenised([*ODD, "Last one."])
    assert found[:3] == ["", "", "a b"]
    assert found[5] == "it is n't # 20-25 -lrb- approx -rrb-"
    assert found[-1] == "last one"
    assert [ptb.tokenised([text])[0] for text in ODD] == found[:-1]  # and together as alone


def test_a_text_is_tokenised_once(with_java: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ptb._seen.clear()
    ptb.tokenised(["One text."])
    monkeypatch.setattr(ptb, "_run", lambda texts: pytest.fail(f"{texts} again"))
    assert ptb.tokenised(["One text.", "One text."]) == ["one text", "one text"]


@pytest.mark.parametrize("metric", [CocoRougeL(), Cider()], ids=["rouge", "cider"])
def test_without_java_they_are_unavailable_with_the_fix(metric, without_java: None) -> None:
    ptb._seen.clear()
    assert "install a Java runtime" in str(metric.unavailable())
    with pytest.raises(MetricUnavailable, match="no `java`"):
        metric.score_split(["a"], [["b"]])


def test_a_tokeniser_that_fails_says_so(monkeypatch: pytest.MonkeyPatch, with_java: None) -> None:
    ptb._seen.clear()
    monkeypatch.setattr(ptb.java, "command", lambda name: ["sh", "-c", "echo broken >&2; exit 3"])
    with pytest.raises(MetricUnavailable, match=r"0 lines for 1 texts and ended with code 3: broken"):
        ptb.tokenised(["a"])
