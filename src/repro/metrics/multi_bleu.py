"""BLEU as Moses' multi-bleu.perl computes it from text that is tokenised already: the BLEU of WebNLG and DART."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from repro.metrics.base import Metric, texts
from repro.metrics.e2e_bleu import bleu_percent, bleu_statistics
from repro.metrics.registry import register

_SPACE = re.compile(r"[ \t\n\r\f\v]+")


@register("multi_bleu")
class MultiBleu(Metric[str, str | None]):
    """Corpus BLEU in percent: tokens are what spaces separate, cased, closest reference length, not smoothed.

    Args:
        references: an example's first so many references count, and one with fewer is padded with empty ones, as the
            reference files of WebNLG and DART are: an empty reference may be the closest in length. None: all of an
            example's references, no padding.

    Raises:
        ValueError: fewer than 1 reference.
    """

    name = "bleu"
    equals = "Moses multi-bleu.perl; sacrebleu 2.6.0 corpus_bleu(tokenize='none', smooth_method='none')"
    outputs = ("bleu",)
    golden = "a written-out oracle and sacrebleu on made-up corpora"

    def __init__(self, references: int | None = None) -> None:
        if references is not None and references < 1:
            raise ValueError(f"{self.name}: references is {references}; at least 1 must count, or null for all.")
        self.references = references

    def score(self, prediction: str, references: Sequence[str | None]) -> list[int]:
        """Statistics [10] of one output: length, closest reference length, matches [4], n-grams [4].

        Raises:
            ValueError: no reference.
        """
        own = [self._reference(text) for text in texts(self.name, references, self.references)]
        own += [""] * ((self.references or 0) - len(own))
        return bleu_statistics(_tokens(self._output(prediction)), [_tokens(text) for text in own])

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """BLEU in percent from statistics [N, 10]."""
        return {"bleu": bleu_percent(statistics)}

    def _output(self, text: str) -> str:
        return text

    def _reference(self, text: str) -> str:
        return text


def _tokens(text: str) -> list[str]:
    """Pieces between ASCII white space: Perl splits bytes."""
    return [token for token in _SPACE.split(text) if token]
