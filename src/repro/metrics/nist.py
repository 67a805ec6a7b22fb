"""NIST as the E2E challenge's scorer computes it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from repro.metrics.base import Metric, column_sums, texts
from repro.metrics.e2e_bleu import ngrams, tokens_13a
from repro.metrics.registry import register

_ORDER = 5
# A length ratio of 2/3 halves the score (mteval-v13a).
_BETA = -math.log(0.5) / math.log(1.5) ** 2

Ngram = tuple[str, ...]


@register("nist")
class Nist(Metric[str, str | None]):
    """NIST of 5-grams: matches weighted by the information that the references of the whole split give an n-gram.

    information(w1 .. wn) = log2(count(w1 .. wn-1) / count(w1 .. wn)), with counts over all references of all examples
    (of the empty n-gram: all tokens). For each order, the information of the matches over the number of n-grams of the
    outputs; the sum of the five orders, times exp(-beta ln(min(1, outputs' length / references' mean length))^2).

    It has to be bound to the references first (`bound`). An empty output counts as one token, and an output of k < 5
    tokens as k - 4 five-grams, as in pymteval.

    Deviation: a corpus in which some order has no n-gram divides by 0 in pymteval; that order gives 0 here.
    """

    name = "nist"
    equals = "e2e-metrics metrics/pymteval.py NISTScore (the Perl mteval-v13a gives other values)"
    outputs = ("nist",)
    units = MappingProxyType({"nist": "bits, as printed"})
    golden = "7.7888876096 on the example files of e2e-metrics, to 1e-9; a naive computation on made-up corpora"

    def __init__(self) -> None:
        self._information: dict[Ngram, float] | None = None

    def bound(self, references: Sequence[Sequence[str | None]]) -> Nist:
        """The metric with the n-gram information of these references."""
        counts: Counter[Ngram] = Counter()
        for golds in references:
            for text in texts(self.name, golds):
                tokens = _tokens(text)
                counts[()] += len(tokens)
                for order in range(1, _ORDER + 1):
                    counts.update(ngrams(tokens, order))
        metric = Nist()
        metric._information = {
            ngram: math.log2(counts[ngram[:-1]] / count) for ngram, count in counts.items() if ngram != ()
        }
        return metric

    def score(self, prediction: str, references: Sequence[str | None]) -> list[float]:
        """Statistics [11] of one output: information of its matches [5], its n-grams [5], mean reference length.

        Raises:
            ValueError: no reference, or the metric was not bound to the split's references.
        """
        if self._information is None:
            raise ValueError("nist: call bound(references of the split) first; it weighs n-grams by them.")
        own = [_tokens(text) for text in texts(self.name, references)]
        output = _tokens(prediction)
        gained = []
        for order in range(1, _ORDER + 1):
            allowed: Counter[Ngram] = Counter()
            for tokens in own:
                allowed |= ngrams(tokens, order)
            matches = ngrams(output, order) & allowed
            gained.append(sum(count * self._information[ngram] for ngram, count in matches.items()))
        totals = [float(len(output) - order + 1) for order in range(1, _ORDER + 1)]
        return [*gained, *totals, sum(len(tokens) for tokens in own) / len(own)]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """NIST from statistics [N, 11]."""
        sums = column_sums(statistics, 2 * _ORDER + 1)
        gained, totals, reference = sums[:_ORDER], sums[_ORDER : 2 * _ORDER], sums[-1]
        value = float(np.divide(gained, totals, out=np.zeros(_ORDER), where=totals != 0).sum())
        ratio = min(1.0, totals[0] / reference) if reference else 1.0
        penalty = math.exp(-_BETA * math.log(ratio) ** 2) if ratio > 0 else 0.0
        return {"nist": value * penalty}


def _tokens(text: str) -> list[str]:
    """13a tokens; the empty text is one empty token, as in pymteval."""
    return tokens_13a(text) or [""]
