"""METEOR 1.5, by the official program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.metrics import java, meteor_process, ptb
from repro.metrics.base import Metric, column_sums, texts
from repro.metrics.registry import register
from repro.metrics.webnlg_text import output_text, reference_text

_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""Parameters of the task `rank` for English: METEOR's default. The weights: exact, stem, synonym, paraphrase."""

TEXTS = ("ptb", "webnlg", "as_is")


@register("meteor")
class Meteor(Metric[str, str | None]):
    """METEOR in percent, of the reference that scores best for each output, aggregated as the program does.

    Each example gives weighted lengths and matches, chunks and matched words; their sums give precision, recall and
    the penalty of the whole split: METEOR is not a mean over examples.

    Args:
        text: what the program reads: `ptb` (E2E: tokens in lower case without punctuation), `webnlg` (as
            WebNLG's evaluation.py writes it), `as_is`. The program normalises it once more (`-norm`).
        references: an example's first so many references count (3 in WebNLG's and DART's scripts; DART's `-r 8` is
            three texts and five empty lines, which never score best). None: all.

    Raises:
        ValueError: another text, fewer than 1 reference.
    """

    name = "meteor"
    equals = "METEOR 1.5, -l en -norm (task rank), the jar of e2e-metrics and pycocoevalcap 1.2, times 100"
    outputs = ("meteor",)
    costly = True
    needs = "Java and pycocoevalcap (extra generation-metrics)"
    golden = (
        "48.01 on the example files of e2e-metrics; the program's own EVAL; its file mode with -r 3 and -r 8 on the "
        "DART authors' BART outputs, 42.968135727745 and 39.223300374438 (by hand: the outputs are not kept here)"
    )

    def __init__(self, text: str = "ptb", references: int | None = None) -> None:
        if text not in TEXTS:
            raise ValueError(f"meteor: text is {text!r}; allowed are {', '.join(TEXTS)}.")
        if references is not None and references < 1:
            raise ValueError(f"meteor: references is {references}; at least 1 must count, or null for all.")
        self.text, self.references = text, references

    def unavailable(self) -> str | None:
        """Why it cannot run here."""
        files = [java.METEOR_JAR, java.PARAPHRASES]
        return java.missing(*files, *([java.TOKENISER_JAR] if self.text == "ptb" else []))

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Statistics [N, 6]: see `statistics`. The METEOR process of this program answers one example after the other.

        Raises:
            ValueError: no reference.
            MetricUnavailable: no Java, or the program failed.
        """
        own = [texts(self.name, some, self.references) for some in references]
        outputs, golds = self._written(predictions, own)
        process = meteor_process.shared()
        return [statistics(process.statistics(*pair)) for pair in zip(outputs, golds, strict=True)]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """METEOR in percent from statistics [N, 6]."""
        return {"meteor": meteor_percent(column_sums(statistics, 6))}

    def _written(self, predictions: Sequence[str], references: list[list[str]]) -> tuple[list[str], list[list[str]]]:
        if self.text == "ptb":
            return ptb.tokenised_pairs(predictions, references)
        if self.text == "webnlg":
            golds = [[reference_text(text) for text in own] for own in references]
            return [output_text(text) for text in predictions], golds
        return list(predictions), references


def statistics(numbers: Sequence[float]) -> list[float]:
    """What METEOR's aggregate needs, from a statistics line [23] of the program; every part may be summed.

    Returns:
        Weighted lengths of output and reference, their weighted matches, chunks, and matched words (the mean of both).
    """
    lengths, function = np.array(numbers[0:2]), np.array(numbers[2:4])
    matches = np.array(numbers[4:20]).reshape(4, 2, 2)  # matcher, content or function, output or reference
    weighted_lengths = _DELTA * (lengths - function) + (1 - _DELTA) * function
    kinds = np.array([_DELTA, 1 - _DELTA])
    weighted_matches = np.einsum("m,k,mks->s", _WEIGHTS, kinds, matches)
    chunks = numbers[20]
    # Output and reference wholly matched in one chunk: no fragmentation, and the program does not count the chunk.
    if chunks == 1 and (matches.sum(axis=(0, 1)) == lengths).all():
        chunks = 0.0
    words = (numbers[21] + numbers[22]) / 2
    return [*map(float, weighted_lengths), *map(float, weighted_matches), float(chunks), float(words)]


def meteor_percent(sums: np.ndarray) -> float:
    """METEOR in percent from summed statistics [6]; 0 without a match."""
    length, reference_length, matches, reference_matches, chunks, words = (float(number) for number in sums)
    if not (length and reference_length and matches and reference_matches):
        return 0.0
    precision, recall = matches / length, reference_matches / reference_length
    mean = 1.0 / ((1 - _ALPHA) / precision + _ALPHA / recall)
    penalty: float = _GAMMA * (chunks / words) ** _BETA
    return 100.0 * max(0.0, mean * (1 - penalty))
