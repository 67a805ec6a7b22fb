"""Exact match and F1 of SQuAD 1.1, 2.0 and MRQA against the official rules written out, on made-up and on real data."""

import json
import os
import random
import re
import string
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.metrics.squad import SquadEmF1, normalised
from repro.metrics.squad_v2 import SquadV2EmF1
from repro.metrics.squad_v2_tuned import SquadV2Tuned

DATA = Path(os.environ.get("REPRO_DATA_ROOT") or Path(__file__).resolve().parents[3] / "shared" / "data")
UNHURRIED = settings(deadline=None, max_examples=200)


# The official rules written out --------------------------------------------------------------------------------------


def naive_words(text):
    """Lower; drop each ASCII punctuation character; articles that stand as whole words become spaces; split."""
    kept = "".join(character for character in text.lower() if character not in set(string.punctuation))
    pieces = re.findall(r"\w+|\W", kept)
    return "".join(" " if piece in ("a", "an", "the") else piece for piece in pieces).split()


def naive_em(prediction, gold):
    return 1.0 if " ".join(naive_words(prediction)) == " ".join(naive_words(gold)) else 0.0


def naive_f1(prediction, gold):
    predicted, wanted = naive_words(prediction), naive_words(gold)
    same = sum(min(count, Counter(wanted)[word]) for word, count in Counter(predicted).items())
    if same == 0:
        return 0.0
    precision, recall = same / len(predicted), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def naive_v1(predictions, golds):
    em = [max(naive_em(p, gold) for gold in own) for p, own in zip(predictions, golds, strict=True)]
    f1 = [max(naive_f1(p, gold) for gold in own) for p, own in zip(predictions, golds, strict=True)]
    return {"f1": 100 * sum(f1) / len(f1), "exact_match": 100 * sum(em) / len(em)}


def naive_v2_question(prediction, answers):
    """(EM, F1) where `answers` is the file's list: empty for an unanswerable question."""
    golds = [answer for answer in answers if naive_words(answer)] or [""]

    def f1(gold):
        if not naive_words(gold) or not naive_words(prediction):
            return float(naive_words(gold) == naive_words(prediction))
        return naive_f1(prediction, gold)

    return max(naive_em(prediction, gold) for gold in golds), max(f1(gold) for gold in golds)


def naive_best(scores, predictions, answers, odds):
    """Answer where the odds are at most t, else say nothing: the best over every t, in percent."""
    best = -1.0
    for threshold in [min(odds) - 1, *odds]:
        total = 0.0
        for score, prediction, own, odd in zip(scores, predictions, answers, odds, strict=True):
            if odd <= threshold and own:
                total += score
            elif not own:
                total += 0.0 if odd <= threshold and prediction else 1.0
        best = max(best, total)
    return 100 * best / len(odds)


def scored(metric, predictions, references):
    rows = [metric.score(p, own) for p, own in zip(predictions, references, strict=True)]
    return metric.reduce(np.array(rows))


# Made-up answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Cat, sat!", "cat sat"),
        ("a an the", ""),
        ("U.S.A.", "usa"),
        ("theatre another", "theatre another"),
        ("the-end", "theend"),  # the mark goes first, and joins
        ("\u2013the end", "\u2013 end"),  # no ASCII mark: it stays, and is no part of a word
        ("\u00c9cole\u00a0the\nx", "\u00e9cole x"),
    ],
)
def test_normalisation(text, plain):
    assert normalised(text) == plain == " ".join(naive_words(text))


def test_the_best_gold_answer_counts_for_each_value_apart():
    metric = SquadEmF1()
    golds = ["Denver Broncos", "the Broncos", "Denver"]
    assert metric.score("Broncos", golds) == [1.0, 1.0, 1.0]
    assert metric.score("Denver Broncos team", golds) == [pytest.approx(0.8), 0.0, 1.0]
    assert metric.score("", golds) == [0.0, 0.0, 1.0]
    assert metric.score("the", ["an"]) == [0.0, 1.0, 1.0]  # equal once normalised, yet no common word
    with pytest.raises(ValueError, match="no gold answer"):
        metric.score("x", [])


def test_repeated_words_count_as_often_as_both_have_them():
    assert SquadEmF1().score("b b b c", ["b b d"])[0] == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))


def test_questions_without_an_answer():
    metric = SquadV2EmF1()
    assert metric.score("", [""]) == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert metric.score("x", [""])[:2] == [0.0, 0.0]
    assert metric.score("the", [""])[:2] == [1.0, 1.0]  # empty once normalised
    assert metric.score("", ["x"]) == [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    assert metric.score("the", ["an", "x"])[:2] == [0.0, 0.0]  # a gold that normalises to nothing is dropped
    assert metric.score({"text": "", "answer": "x", "null_odds": 3.0}, [""])[:2] == [1.0, 1.0]


def test_a_tuned_threshold_by_hand():
    # Odds low to high: right answer, wrong answer, unanswerable twice. Answering only the first gives 3 of 4.
    said = [("yes", -3.0), ("no", -1.0), ("x", 0.5), ("y", 2.0)]
    predictions = [{"text": text, "answer": text, "null_odds": odds} for text, odds in said]
    references = [["yes"], ["right"], [""], [""]]
    found = scored(SquadV2Tuned(), predictions, references)
    assert found == {
        "best_f1": 75.0, "best_exact_match": 75.0, "best_f1_threshold": -3.0, "best_exact_match_threshold": -3.0
    }  # fmt: skip
    never = [{"text": "", "answer": "z", "null_odds": 1.0}] * 4
    assert scored(SquadV2Tuned(), never, references)["best_f1_threshold"] == 0.0


def test_equal_odds_change_sides_together_in_any_order():
    pairs = [("yes", ["yes"]), ("x", [""]), ("yes", ["yes"]), ("y", [""])]
    for order in ([0, 1, 2, 3], [0, 2, 1, 3], [1, 3, 0, 2]):
        chosen = [pairs[i] for i in order]
        predictions = [{"text": text, "answer": text, "null_odds": 0.0} for text, _ in chosen]
        assert scored(SquadV2Tuned(), predictions, [own for _, own in chosen])["best_f1"] == 50.0


def test_a_generated_text_is_certain():
    predictions, references = ["", "right", "x", ""], [[""], ["right"], [""], [""]]
    assert scored(SquadV2EmF1(), predictions, references)["f1"] == 75.0
    assert scored(SquadV2Tuned(), predictions, references)["best_f1"] == 75.0


def test_no_question_at_all():
    assert SquadEmF1().reduce(np.zeros((0, 3))) == {"f1": 0.0, "exact_match": 0.0}
    assert set(SquadV2Tuned().reduce(np.zeros((0, 4)))) == set(SquadV2Tuned().outputs)


words = st.sampled_from(["the", "a", "Cat", "cat,", "dog", "U.S.", "42", "-", "\u2013the", ""])
texts = st.lists(words, max_size=5).map(" ".join)


@UNHURRIED
@given(st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=6))
def test_squad_equals_the_official_rule(pairs):
    predictions, golds = zip(*pairs, strict=True)
    assert scored(SquadEmF1(), predictions, golds) == pytest.approx(naive_v1(predictions, golds), abs=1e-10)


@UNHURRIED
@given(st.lists(st.tuples(texts, st.lists(texts.filter(bool), max_size=3), st.floats(-9, 9)), min_size=1, max_size=8))
def test_squad_v2_equals_the_official_rule(questions):
    predictions, answers, odds = zip(*questions, strict=True)
    references = [own or [""] for own in answers]
    pairs = [naive_v2_question(p, own) for p, own in zip(predictions, answers, strict=True)]
    em, f1 = zip(*pairs, strict=True)
    found = scored(SquadV2EmF1(), predictions, references)
    assert found["exact_match"] == pytest.approx(100 * np.mean(em), abs=1e-10)
    assert found["f1"] == pytest.approx(100 * np.mean(f1), abs=1e-10)
    with_answer = [value for value, own in zip(f1, answers, strict=True) if own]
    assert found["f1_answerable"] == pytest.approx(100 * np.mean(with_answer) if with_answer else 0.0, abs=1e-10)
    spans = [{"text": "", "answer": p, "null_odds": odd} for p, odd in zip(predictions, odds, strict=True)]
    tuned = scored(SquadV2Tuned(), spans, references)
    assert tuned["best_exact_match"] == pytest.approx(naive_best(em, predictions, answers, odds), abs=1e-10)
    assert tuned["best_f1"] == pytest.approx(naive_best(f1, predictions, answers, odds), abs=1e-10)


# Real data -----------------------------------------------------------------------------------------------------------


def real_questions(name):
    path = DATA / "squad" / name
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist (set REPRO_DATA_ROOT)")
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [
        (paragraph["context"], [answer["text"] for answer in question["answers"]])
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def disturbed(questions, seed=5):
    """An answer of the file, cut or lengthened, or another piece of the context."""
    draw, made = random.Random(seed), []
    for context, answers in questions:
        place = draw.randrange(len(context))
        piece = context[place : place + draw.randrange(40)]
        text = draw.choice(answers) if answers else piece
        made.append(draw.choice([text, text[1:], f"the {text}!", f"{text} {piece}", piece, ""]))
    return made


@pytest.mark.real
def test_real_squad_equals_the_official_rule():
    questions = real_questions("dev-v1.1.json")
    predictions, golds = disturbed(questions), [answers for _, answers in questions]
    found = scored(SquadEmF1(), predictions, golds)
    assert found == pytest.approx(naive_v1(predictions, golds), abs=1e-10)
    assert 20 < found["exact_match"] < found["f1"] < 80
    assert scored(SquadEmF1(), [own[0] for own in golds], golds) == {"f1": 100.0, "exact_match": 100.0}


@pytest.mark.real
def test_real_squad_v2_and_its_majority_score():
    questions = real_questions("dev-v2.0.json")
    answers = [own for _, own in questions]
    references = [own or [""] for own in answers]
    silent = scored(SquadV2EmF1(), [""] * len(answers), references)
    assert round(silent["exact_match"], 2) == round(silent["f1"], 2) == 50.07  # 5945 of 11873, papers/liu2022 (d)
    assert (silent["f1_answerable"], silent["f1_unanswerable"]) == (0.0, 100.0)
    predictions = disturbed(questions)
    em, f1 = zip(*(naive_v2_question(p, own) for p, own in zip(predictions, answers, strict=True)), strict=True)
    found = scored(SquadV2EmF1(), predictions, references)
    assert [found["exact_match"], found["f1"]] == pytest.approx([100 * np.mean(em), 100 * np.mean(f1)], abs=1e-10)
