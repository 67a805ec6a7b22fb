"""Translation edit rate (TER) of WebNLG and DART."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from repro.metrics.base import Metric, column_sums, texts
from repro.metrics.registry import register
from repro.metrics.webnlg_text import output_text, reference_text

TEXTS = ("webnlg", "as_is")


@register("ter")
class Ter(Metric[str, str | None]):
    """TER in percent: fewest edits (words and shifts of phrases) to some reference, over mean reference lengths.

    Lower is better. References that are missing or empty are left out: tercom's reference files have no padding.

    Deviation: sacrebleu's port of tercom, not the program: it tries other shifts, and is up to 0.03 points apart.

    Args:
        text: `webnlg` (as WebNLG's evaluation.py writes it) or `as_is`; case does not count in either.
        references: an example's first so many references count (3 in WebNLG's and DART's scripts). None: all.

    Raises:
        ValueError: another text, fewer than 1 reference.
    """

    name = "ter"
    equals = (
        "sacrebleu 2.6.0 TER (normalized=False, no_punct=False, case_sensitive=False) with each example's own "
        "references; within 0.03 of tercom 0.7.25, the program of WebNLG and DART"
    )
    outputs = ("ter",)
    higher_is_better = False
    costly = True
    golden = (
        "37.731 and 44.677 where tercom 0.7.25 gives 37.733 and 44.696, on the DART authors' BART outputs for WebNLG "
        "and DART (by hand: the outputs are not kept here); sacrebleu on made-up corpora"
    )

    def __init__(self, text: str = "as_is", references: int | None = None) -> None:
        if text not in TEXTS:
            raise ValueError(f"ter: text is {text!r}; allowed are {', '.join(TEXTS)}.")
        if references is not None and references < 1:
            raise ValueError(f"ter: references is {references}; at least 1 must count, or null for all.")
        self.text, self.references = text, references

    def score(self, prediction: str, references: Sequence[str | None]) -> list[float]:
        """Statistics [edits, mean reference length] of one output.

        Raises:
            ValueError: no reference but padding and empty texts.
        """
        own = texts(self.name, [text or None for text in references], self.references)
        if self.text == "webnlg":
            prediction, own = output_text(prediction), [reference_text(text) for text in own]
        return list(map(float, _edits(prediction, own)))

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """TER in percent from statistics [N, 2]. Without a word in any reference: 100 if there are edits, else 0."""
        edits, length = column_sums(statistics, 2)
        return {"ter": float(100.0 * edits / length) if length else 100.0 * float(edits > 0)}


def _edits(output: str, references: Sequence[str]) -> tuple[int, float]:
    """Fewest edits to a reference, and the mean number of words of the references.

    Shifts move words and change none, so the edits to a reference are at least the words of the longer text that the
    two have not in common. A reference that cannot be better for that reason is not tried: the search is slow.
    """
    words = output.lower().split()
    own = [text.lower().split() for text in references]
    least = {index: max(len(words), len(text)) - _common(words, text) for index, text in enumerate(own)}
    best: int | None = None
    for index in sorted(least, key=lambda index: least[index]):
        if best is None or least[index] < best:
            edits = 0 if words == own[index] else int(_scorer().sentence_score(output, [references[index]]).num_edits)
            best = edits if best is None else min(best, edits)
    assert best is not None
    return best, sum(map(len, own)) / len(own)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Words that two texts have in common, as multisets."""
    return (Counter(first) & Counter(second)).total()


@lru_cache(maxsize=1)
def _scorer() -> Any:
    """sacrebleu's TER; imported at the first score."""
    from sacrebleu.metrics.ter import TER

    return TER()
