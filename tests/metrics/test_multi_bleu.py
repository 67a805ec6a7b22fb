"""multi-bleu.perl's BLEU, and the text that WebNLG and DART give it."""

import json
import math
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import corpus_bleu
from unidecode import unidecode

from repro.metrics.dart_bleu import DartBleu
from repro.metrics.multi_bleu import MultiBleu
from repro.metrics.webnlg_bleu import WebnlgBleu
from repro.metrics.webnlg_text import ascii_folded, output_text, reference_text

DATA_ROOT = Path(os.environ.get("REPRO_DATA_ROOT") or Path(__file__).resolve().parents[3] / "shared" / "data")

_texts = st.lists(st.sampled_from(["the", "The", "red", "lion", ",", ".", "pub-crawl", "é"]), max_size=9).map(" ".join)


@st.composite
def corpora(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """Outputs with three references each, of which the last may be empty, as the files of WebNLG and DART are."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        own = draw(st.lists(_texts, min_size=1, max_size=3))
        output = draw(st.one_of(_texts, st.sampled_from(own)))
        found.append((output, [*own, *[""] * (3 - len(own))]))
    return found


def written_out(corpus: list[tuple[str, list[str]]]) -> float:
    """BLEU-4 as multi-bleu.perl describes it, from its definition."""
    correct, total, length, reference_length = [0] * 4, [0] * 4, 0, 0
    for output, references in corpus:
        tokens, own = output.split(), [text.split() for text in references]
        length += len(tokens)
        best = min(abs(len(text) - len(tokens)) for text in own)
        reference_length += min(len(text) for text in own if abs(len(text) - len(tokens)) == best)
        for n in range(4):
            counts = Counter(tuple(tokens[i : i + n + 1]) for i in range(len(tokens) - n))
            for ngram, count in counts.items():
                most = max(sum(tuple(text[i : i + n + 1]) == ngram for i in range(len(text) - n)) for text in own)
                correct[n] += min(count, most)
                total[n] += count
    if not all(correct):
        return 0.0
    penalty = 1.0 if length >= reference_length else math.exp(1 - reference_length / length)
    return 100 * penalty * math.exp(sum(math.log(c / t) for c, t in zip(correct, total, strict=True)) / 4)


@given(corpora())
def test_equals_its_definition_and_sacrebleu_with_empty_references_kept(corpus) -> None:
    outputs, references = [output for output, _ in corpus], [own for _, own in corpus]
    values, _ = MultiBleu(references=3).score_split(outputs, references)
    assert values["bleu"] == pytest.approx(written_out(corpus), abs=1e-9)
    columns = [list(column) for column in zip(*references, strict=True)]
    theirs = corpus_bleu(outputs, columns, tokenize="none", smooth_method="none", force=True)
    assert values["bleu"] == pytest.approx(theirs.score, abs=1e-9)


def test_missing_references_are_padded_and_further_ones_left_out() -> None:
    metric = MultiBleu(references=3)
    assert metric.score("a", ["a b c d"]) == metric.score("a", ["a b c d", "", ""])
    assert metric.score("a", ["a b c d"])[1] == 0  # the empty reference is closest in length
    assert metric.score("x", ["a b", "a b", "a b", "x"])[2] == 0
    assert MultiBleu().score("x", ["a b", "a b", "a b", "x"])[2] == 1


def test_case_counts_and_only_ascii_space_separates() -> None:
    assert MultiBleu().score("The lion", ["the lion"])[2] == 1
    assert MultiBleu().score("a\u00a0b", ["a b"])[0] == 1
    assert DartBleu().score("The Lion", ["the lion"])[2] == 2
    assert DartBleu(lowercase=False).score("The Lion", ["the lion"])[2] == 0


@pytest.mark.parametrize("references", [0, -1])
def test_no_reference_counts_is_refused(references: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MultiBleu(references=references)


# ---- WebNLG's text


def official_reference(text: str) -> str:
    """evaluation.py's treatment of a reference."""
    return unidecode(" ".join(" ".join(re.split(r"(\W)", text)).split()).lower())


def official_output(text: str) -> str:
    """evaluation.py's treatment of a line of a system's output."""
    return " ".join(" ".join(re.split(r"(\W)", unidecode(unidecode(text.strip()).lower()))).split())


_LATIN = [chr(code) for code in [*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x2010, 0x2027)]]


def test_folding_equals_unidecode_on_latin_letters_and_common_signs() -> None:
    # Signs that no table of ours has: rare punctuation. Each is dropped, and the docstring says so.
    rare = set("‣‧")
    for character in [*_LATIN, *"′″‰‹›€→ə™−", *(chr(code) for code in range(0x1E00, 0x1EFA))]:
        if character in rare or unicodedata.name(character, "").startswith("LATIN SMALL LETTER LONG S"):
            continue
        if unidecode(character) != ascii_folded(character):
            pytest.fail(f"{character!r} ({ord(character):x}): {unidecode(character)!r}, {ascii_folded(character)!r}")


@given(st.text(alphabet=[c for c in _LATIN if c not in "‣‧"], max_size=30))
def test_text_is_what_evaluation_py_writes(text: str) -> None:
    assert output_text(text) == official_output(text)
    assert reference_text(text) == official_reference(text)


def test_outputs_and_references_differ_where_the_script_makes_them_differ() -> None:
    assert output_text("½ mile") == "1 / 2 mile"
    assert reference_text("½ mile") == " 1/2 mile"
    bleu = WebnlgBleu()
    assert bleu.score("Ø, the LION", ["Ø , the lion"])[2] == 4


@pytest.mark.real
def test_every_text_of_webnlg_is_as_the_script_writes_it() -> None:
    folder = DATA_ROOT / "webnlg"
    if not folder.is_dir():
        pytest.skip(f"no webnlg folder under {DATA_ROOT}; set REPRO_DATA_ROOT to the data folder")
    found = texts_in(json.loads(Path(folder / "test.json").read_text(encoding="utf-8")))
    assert len(found) > 4000
    assert all(reference_text(text) == official_reference(text) for text in found)
    assert all(output_text(text) == official_output(text) for text in found)


def texts_in(node) -> list[str]:
    """Every `lex` of the file."""
    if isinstance(node, list):
        return [text for item in node for text in texts_in(item)]
    if isinstance(node, dict):
        own = [node["lex"]] if isinstance(node.get("lex"), str) else []
        return own + [text for item in node.values() for text in texts_in(item)]
    return []


def test_a_part_of_a_split_is_a_sum_of_rows() -> None:
    outputs, references = ["a b c d", "x y z w"], [["a b c d"], ["x y z v w"]]
    _, rows = MultiBleu(3).score_split(outputs, references)
    assert rows is not None
    assert MultiBleu(3).reduce(np.array(rows[:1])) == MultiBleu(3).score_split(outputs[:1], references[:1])[0]
