"""CIDEr-D as the coco caption scorer computes it: the CIDEr of E2E."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from repro.metrics import ptb
from repro.metrics.base import MeanMetric, texts
from repro.metrics.e2e_bleu import ngrams
from repro.metrics.registry import register

_ORDER = 4
_SIGMA = 6.0

Ngram = tuple[str, ...]


@dataclass(frozen=True)
class _Vector:
    """A text's tf-idf weights of each order, their norms, and its length (in bigrams, as the scorer has it)."""

    weights: tuple[dict[Ngram, float], ...]
    norms: tuple[float, ...]
    length: int


@register("cider")
class Cider(MeanMetric[str, str | None]):
    """CIDEr-D, times 10: mean over references and orders 1 to 4 of a clipped cosine of tf-idf weights.

    Clipped: an n-gram of the output weighs at most what it weighs in the reference. Each reference's term is cut by
    exp(-(difference of lengths)^2 / (2 * 6^2)). The idf of an n-gram is ln(examples / examples with it in a reference),
    over the references of the whole split (`bound`). A bootstrap over examples keeps the whole split's idf.
    """

    name = "cider"
    equals = "e2e-metrics / pycocoevalcap 1.2 Cider (CIDEr-D, sigma 6) on PTBTokenizer's text"
    outputs = ("cider",)
    units = MappingProxyType({"cider": "as printed (0 to 10)"})
    factor = 1.0
    costly = True
    needs = "Java and pycocoevalcap (extra generation-metrics), for the tokeniser"
    golden = "2.3039 on the example files of e2e-metrics, and pycocoevalcap itself on made-up texts"

    def __init__(self) -> None:
        self._examples: int | None = None
        self._with: Counter[Ngram] = Counter()
        self._vectors: dict[str, _Vector] = {}

    def unavailable(self) -> str | None:
        """Why it cannot run here."""
        return ptb.unavailable()

    def bound(self, references: Sequence[Sequence[str | None]]) -> Cider:
        """The metric with the idf of these references.

        Raises:
            ValueError: an example without a reference.
            MetricUnavailable: no Java.
        """
        _, golds = ptb.tokenised_pairs([], [texts(self.name, own) for own in references])
        metric = Cider()
        metric._examples = len(golds)
        for own in golds:
            metric._with.update({ngram for text in own for ngram in _counts(text)})
        return metric

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Statistics [CIDEr-D, 1] of each output; one Java process.

        Raises:
            ValueError: no reference, or the metric was not bound to the split's references.
            MetricUnavailable: no Java.
        """
        if self._examples is None:
            raise ValueError("cider: call bound(references of the split) first; idf comes from them.")
        outputs, golds = ptb.tokenised_pairs(predictions, [texts(self.name, own) for own in references])
        return [[self._value(output, own), 1.0] for output, own in zip(outputs, golds, strict=True)]

    def _value(self, output: str, references: Sequence[str]) -> float:
        vector = self._vector(output)
        similar = [_similarity(vector, self._vector(text)) for text in references]
        return 10.0 * sum(similar) / (_ORDER * len(references))

    def _vector(self, text: str) -> _Vector:
        if text not in self._vectors:
            weights: tuple[dict[Ngram, float], ...] = tuple({} for _ in range(_ORDER))
            counts = _counts(text)
            for ngram, count in counts.items():
                idf = math.log(self._examples or 1) - math.log(max(1, self._with[ngram]))
                weights[len(ngram) - 1][ngram] = count * idf
            norms = tuple(math.sqrt(sum(value**2 for value in own.values())) for own in weights)
            length = sum(count for ngram, count in counts.items() if len(ngram) == 2)
            self._vectors[text] = _Vector(weights, norms, length)
        return self._vectors[text]


def _counts(text: str) -> Counter[Ngram]:
    """How often each n-gram of order 1 to 4 occurs."""
    words = text.split()
    found: Counter[Ngram] = Counter()
    for order in range(1, _ORDER + 1):
        found.update(ngrams(words, order))
    return found


def _similarity(output: _Vector, reference: _Vector) -> float:
    """Sum over the orders of the clipped cosine, cut by the difference in length."""
    total = 0.0
    for order in range(_ORDER):
        theirs = reference.weights[order]
        product = sum(
            min(weight, theirs[ngram]) * theirs[ngram]
            for ngram, weight in output.weights[order].items()
            if ngram in theirs
        )
        norm = output.norms[order] * reference.norms[order]
        total += product / norm if norm else product
    return total * math.exp(-((output.length - reference.length) ** 2) / (2 * _SIGMA**2))
