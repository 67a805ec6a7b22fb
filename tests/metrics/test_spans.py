"""Span F1 against seqeval."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

from repro.metrics.base import Metric
from repro.metrics.span_f1 import SpanF1
from repro.metrics.spans import spans
from repro.metrics.strict_span_f1 import StrictSpanF1, strict_spans

Sentence = tuple[list[str], list[str]]


def tag_lists(length: int, prefixes: str) -> st.SearchStrategy[list[str]]:
    """Tags of a few types, one of them with a hyphen as in SRL, one empty (`B` alone)."""
    typed = st.tuples(st.sampled_from(prefixes), st.sampled_from(["-PER", "-LOC", "-C-A1", "-A1", ""])).map("".join)
    return st.lists(st.one_of(st.just("O"), typed), min_size=length, max_size=length)


@st.composite
def corpora(draw: st.DrawFn, prefixes: str) -> list[Sentence]:
    """Sentences of (predicted, gold) tags; half of the predictions are a gold sentence with a few tags changed."""
    corpus = []
    for length in draw(st.lists(st.integers(1, 10), min_size=1, max_size=6)):
        gold, other = draw(tag_lists(length, prefixes)), draw(tag_lists(length, prefixes))
        changed = draw(st.lists(st.booleans(), min_size=length, max_size=length))
        corpus.append(([new if use else old for new, old, use in zip(other, gold, changed, strict=True)], gold))
    return corpus


def ours(corpus: list[Sentence], metric: Metric | None = None) -> dict[str, float]:
    metric = metric or SpanF1()
    return metric.reduce(np.array([metric.score(predicted, [gold]) for predicted, gold in corpus]))


def theirs(corpus: list[Sentence]) -> dict[str, float]:
    predicted, gold = [list(side) for side in zip(*corpus, strict=True)]
    scorers = {"span_f1": f1_score, "span_precision": precision_score, "span_recall": recall_score}
    return {name: 100 * scorer(gold, predicted, zero_division=0) for name, scorer in scorers.items()}


@given(corpora("BI"))
@example([(["O", "O"], ["O", "O"])])
@example([(["O"], ["B-PER"])])
@example([(["B-PER"], ["O"])])
def test_equals_seqeval(corpus: list[Sentence]) -> None:
    assert ours(corpus) == pytest.approx(theirs(corpus), abs=1e-10)


@given(corpora("BIES"))
def test_equals_seqeval_on_iobes(corpus: list[Sentence]) -> None:
    assert ours(corpus) == pytest.approx(theirs(corpus), abs=1e-10)


@given(st.integers(0, 12).flatmap(lambda length: tag_lists(length, "BIES")))
def test_finds_the_spans_that_seqeval_finds(tags: list[str]) -> None:
    named = {(kind or "_", first, last) for kind, first, last in spans(tags)}  # seqeval calls the empty type `_`
    assert named == set(get_entities(tags))


def test_an_orphan_inside_tag_starts_a_span() -> None:
    assert spans(["O", "I-PER", "I-PER", "I-LOC", "B-LOC"]) == {("PER", 1, 2), ("LOC", 3, 3), ("LOC", 4, 4)}


@pytest.mark.parametrize(
    ("predicted", "gold", "f1"),
    [  # the three cases in which strict IOB2 scoring would give 50, 0 and 66.7
        ("I-PER I-PER O I-LOC", "B-PER I-PER O B-LOC", 100.0),
        ("I-PER I-PER", "B-PER I-PER", 100.0),
        ("B-PER I-PER I-LOC", "B-PER I-PER B-LOC", 100.0),
    ],
)
def test_scheme_blind_cases(predicted: str, gold: str, f1: float) -> None:
    assert ours([(predicted.split(), gold.split())])["span_f1"] == f1


def test_statistics_are_span_counts() -> None:
    # The first predicted span has the wrong type, and the last gold one (an orphan I-) is missing.
    predicted, gold = ["B-LOC", "I-LOC", "O", "B-PER", "O"], ["B-PER", "I-PER", "O", "B-PER", "I-LOC"]
    assert SpanF1().score(predicted, [gold]) == [1, 2, 3]


def test_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 predicted tags for 1 gold"):
        SpanF1().score(["O", "O"], [["O"]])
    with pytest.raises(ValueError, match="1 predicted tags for 2 gold"):
        SpanF1().score(["O"], [["O", "O"]])


@pytest.mark.parametrize("references", [[], [["O"], ["O"]]])
def test_one_reference_is_required(references: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        SpanF1().score(["O"], references)


@pytest.mark.parametrize("tag", ["", "PER", "BPER", "b-PER", "O-PER", "X-PER"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is no tag"):
        SpanF1().score([tag], [["O"]])


def test_it_names_itself_and_its_reference_scorer() -> None:
    metric = SpanF1()
    assert metric.name == "span_f1"
    assert metric.outputs == ("span_f1", "span_precision", "span_recall")
    assert metric.higher_is_better
    assert metric.equals == "seqeval 1.2.2, default mode"


# Strict --------------------------------------------------------------------------------------------------------------


def typed(corpus: list[Sentence]) -> list[Sentence]:
    """seqeval's strict mode knows no tag without a type (`B` alone)."""
    return [([f"{tag}-X" if tag in "BI" else tag for tag in side] for side in pair) for pair in corpus]  # type: ignore[misc]


@given(corpora("BI").map(typed).map(lambda corpus: [(list(p), list(g)) for p, g in corpus]))
@example([(["I-PER"], ["I-PER"])])
@example([(["O", "O"], ["O", "O"])])
def test_strict_equals_seqeval(corpus: list[Sentence]) -> None:
    predicted, gold = [list(side) for side in zip(*corpus, strict=True)]
    scorers = {"strict_span_f1": f1_score, "strict_span_precision": precision_score, "strict_span_recall": recall_score}
    wanted = {}
    for name, scorer in scorers.items():
        if any(Entities(gold, IOB2).entities) or any(Entities(predicted, IOB2).entities):
            wanted[name] = 100 * scorer(gold, predicted, mode="strict", scheme=IOB2, zero_division=0)
        else:
            wanted[name] = 0.0  # seqeval divides by nothing at all there
    assert ours(corpus, StrictSpanF1()) == pytest.approx(wanted, abs=1e-10)


def test_strict_reads_only_what_iob2_allows() -> None:
    assert strict_spans(["O", "I-PER", "B-PER", "I-PER", "I-LOC", "I-LOC", "B-LOC"]) == {("PER", 2, 3), ("LOC", 6, 6)}
    assert strict_spans(["B-A", "I-B", "I-A"]) == {("A", 0, 0)}
    with pytest.raises(ValueError, match="no tag of IOB2"):
        StrictSpanF1().score(["S-PER"], [["B-PER"]])
    with pytest.raises(ValueError, match="strict_span_f1: 2 predicted tags for 1 gold"):
        StrictSpanF1().score(["O", "O"], [["O"]])


@pytest.mark.parametrize(
    ("predicted", "gold", "f1"),
    [  # hub notes 4.5
        ("I-PER I-PER O B-LOC", "B-PER I-PER O B-LOC", 66.7),
        ("I-PER I-PER", "B-PER I-PER", 0.0),
        ("B-PER I-PER I-LOC", "B-PER I-PER B-LOC", 66.7),
    ],
)
def test_strict_cases(predicted: str, gold: str, f1: float) -> None:
    assert round(ours([(predicted.split(), gold.split())], StrictSpanF1())["strict_span_f1"], 1) == f1


def test_strict_and_default_have_names_of_their_own() -> None:
    assert not set(StrictSpanF1().outputs) & set(SpanF1().outputs)
    assert StrictSpanF1().name == "strict_span_f1" and "strict" in StrictSpanF1().equals
