"""SRL F1 by the CoNLL-2005 rules: by hand, against the rules written out, and against the official script if given."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.metrics.base import Metric
from repro.metrics.span_f1 import SpanF1
from repro.metrics.srl_f1_conll05 import SrlF1, arguments

ROLES = ("A0", "A1", "V", "R-A0", "C-A0", "C-A1", "C-V", "AM-TMP")
Sentence = tuple[list[str], list[str]]


@st.composite
def tag_lists(draw: st.DrawFn, length: int) -> list[str]:
    """Flat spans of one to three tokens, now and then with an orphan I-, which default reading takes for a start."""
    tags: list[str] = []
    while len(tags) < length:
        role = draw(st.sampled_from((*ROLES, None)))
        size = draw(st.integers(1, 3))
        first = "I" if draw(st.integers(0, 9)) == 0 else "B"
        tags += ["O"] if role is None else [f"{first}-{role}", *[f"I-{role}"] * (size - 1)]
    return tags[:length]


@st.composite
def corpora(draw: st.DrawFn) -> list[Sentence]:
    corpus = []
    for length in draw(st.lists(st.integers(1, 12), min_size=1, max_size=5)):
        gold, other = draw(tag_lists(length)), draw(tag_lists(length))
        keep = draw(st.integers(0, length))
        corpus.append((gold[:keep] + other[keep:], gold))
    return corpus


def naive_phrases(tags: list[str]) -> list[list]:
    """[role, first, last] in order of the sentence."""
    phrases: list[list] = []
    before = "O"
    for place, tag in enumerate(tags):
        if tag == "O":
            pass
        elif tag[0] == "I" and before != "O" and before[2:] == tag[2:]:
            phrases[-1][2] = place
        else:
            phrases.append([tag[2:], place, place])
        before = tag
    return phrases


def naive_arguments(tags: list[str]) -> list[tuple[str, list[tuple[int, int]]]]:
    """The task's rule walked from left to right: look back for the nearest argument that C- can continue."""
    found: list[tuple[str, list[tuple[int, int]]]] = []
    for role, first, last in naive_phrases(tags):
        plain = role[2:] if role.startswith("C-") else role
        earlier = [pieces for other, pieces in reversed(found) if other == plain] if plain != role else []
        if earlier:
            earlier[0].append((first, last))
        else:
            found.append((plain, [(first, last)]))
    return [argument for argument in found if argument[0] != "V"]


def naive_scores(corpus: list[Sentence]) -> tuple[float, float, float]:
    correct = predicted = gold = 0
    for said, true in corpus:
        ours, theirs = naive_arguments(said), naive_arguments(true)
        correct += sum(argument in theirs for argument in ours)
        predicted, gold = predicted + len(ours), gold + len(theirs)
    precision = 100 * correct / predicted if predicted else 0.0
    recall = 100 * correct / gold if gold else 0.0
    return (2 * precision * recall / (precision + recall) if correct else 0.0), precision, recall


def ours(corpus: list[Sentence], metric: Metric | None = None) -> tuple[float, ...]:
    metric = metric or SrlF1()
    return tuple(metric.reduce(np.array([metric.score(said, [gold]) for said, gold in corpus])).values())


@settings(deadline=None)
@given(corpora())
def test_equals_the_rules_written_out(corpus: list[Sentence]) -> None:
    assert ours(corpus) == pytest.approx(naive_scores(corpus), abs=1e-10)


def test_by_hand() -> None:
    tags = ["B-A1", "I-A1", "B-V", "B-C-A1", "O", "B-R-A0", "B-C-V", "B-C-A2", "I-C-A2", "B-C-A1"]
    assert arguments(tags) == {
        ("A1", ((0, 1), (3, 3), (9, 9))),  # all pieces are one argument
        ("R-A0", ((5, 5),)),
        ("A2", ((7, 8),)),  # nothing to continue: an argument of its own
    }
    assert arguments(["B-V", "O", "B-C-V"]) == set()
    # C-A0 continues the nearer of two.
    assert arguments(["B-A0", "B-A0", "O", "B-C-A0"]) == {("A0", ((0, 0),)), ("A0", ((1, 1), (3, 3)))}


def test_how_it_differs_from_p_tuning_v2s_number() -> None:
    """The given verb lifts the score there; a missing continuation costs one span there, the whole argument here."""
    gold, said = ["B-A0", "B-V", "B-A1", "O", "B-C-A1"], ["B-A0", "B-V", "B-A1", "O", "O"]
    assert SpanF1().score(said, [gold]) == [3, 3, 4]
    assert SrlF1().score(said, [gold]) == [1, 2, 2]
    wrong = ["O", "B-V", "O", "O", "O"]
    assert ours([(wrong, gold)], SpanF1())[0] == pytest.approx(40.0) and ours([(wrong, gold)])[0] == 0.0


def test_names_are_apart_and_faults_are_refused() -> None:
    metric = SrlF1()
    assert metric.outputs == ("srl_f1_conll05", "srl_precision_conll05", "srl_recall_conll05")
    assert not set(metric.outputs) & set(SpanF1().outputs) and metric.name != SpanF1().name
    assert metric.reduce(np.zeros((0, 3))) == dict.fromkeys(metric.outputs, 0.0)
    with pytest.raises(ValueError, match=r"srl_f1_conll05: 1 predicted tags for 2 gold"):
        metric.score(["O"], [["O", "O"]])
    with pytest.raises(ValueError, match="exactly one"):
        metric.score(["O"], [])
    with pytest.raises(ValueError, match="is no tag"):
        metric.score(["A0"], [["O"]])


def props(sentences: list[list[str]]) -> str:
    """The script's column format: the verb's lemma, then one column of start-end brackets."""
    blocks = []
    for tags in sentences:
        columns = [["-" if place else "go", "*"] for place in range(len(tags))]
        for role, first, last in naive_phrases(tags):
            columns[first][1] = f"({role}" + columns[first][1]
            columns[last][1] += ")"
        blocks.append("\n".join(" ".join(row) for row in columns) + "\n\n")
    return "".join(blocks)


@pytest.mark.parity
@settings(deadline=None, max_examples=40)
@given(corpus=st.tuples(corpora(), corpora(), corpora()).map(lambda parts: [one for part in parts for one in part]))
def test_equals_the_official_script(corpus: list[Sentence], tmp_path_factory: pytest.TempPathFactory) -> None:
    script = os.environ.get("REPRO_SRL_EVAL")
    if not script or not Path(script).is_file() or not shutil.which("perl"):
        pytest.skip("REPRO_SRL_EVAL does not name srl-eval.pl of CoNLL-2005 (not ours to ship), or there is no perl")
    folder = tmp_path_factory.mktemp("srl")
    for name, side in (("pred", 0), ("gold", 1)):
        (folder / name).write_text(props([sentence[side] for sentence in corpus]), encoding="utf-8")
    done = subprocess.run(
        ["perl", script, str(folder / "gold"), str(folder / "pred")], capture_output=True, text=True, check=True
    )
    found = re.search(r"Overall\s+\d+\s+\d+\s+\d+\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)", done.stdout)
    assert found, done.stdout
    precision, recall, f1 = map(float, found.groups())
    assert ours(corpus) == pytest.approx((f1, precision, recall), abs=0.00501)
