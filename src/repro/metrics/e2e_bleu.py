"""BLEU as the E2E challenge's scorer computes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from repro.metrics.base import Metric, column_sums, texts
from repro.metrics.registry import register

_ORDER = 4


@register("e2e_bleu")
class E2EBleu(Metric[str, str | None]):
    """Corpus BLEU in percent: 13a tokens, case-insensitive, closest reference length, any number of references.

    This is the BLEU of e2e-metrics (`metrics/pymteval.py`), which Li and Liang (2021) report for E2E. It is not
    smoothed: it is 0 if no n-gram of some order from 1 to 4 matches.

    Deviation: pymteval replaces 0 matches by 1e-15, so that a corpus without a matching four-gram scores a little above
    0 there and 0 here; it counts an empty output as one token, and an output of k < 3 tokens as k - 3 four-grams, a
    negative number (0 here and in sacrebleu). Both agree where every output has 3 tokens and every order has a match.
    """

    name = "bleu"
    equals = (
        "e2e-metrics metrics/pymteval.py BLEUScore, times 100 (but for empty and 1- or 2-token outputs); "
        "sacrebleu 2.6.0 corpus_bleu(lowercase=True, tokenize='13a', smooth_method='none')"
    )
    outputs = ("bleu",)

    def score(self, prediction: str, references: Sequence[str | None]) -> list[int]:
        """Statistics [10] of one output: length, closest reference length, matches [4] and n-grams [4] of order 1 to 4.

        Of two references equally close in length the shorter counts. Matches of an n-gram are cut at its largest count
        in any one reference.

        Args:
            prediction: the generated text, not tokenised.
            references: texts, not tokenised; None is padding and left out.

        Raises:
            ValueError: no reference but padding.
        """
        candidates = [tokens_13a(text) for text in texts(self.name, references)]
        return bleu_statistics(tokens_13a(prediction), candidates)

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """BLEU in percent from statistics [N, 10]."""
        return {"bleu": bleu_percent(statistics)}


def bleu_statistics(output: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[int]:
    """Length, closest reference length, matches [4] and n-grams [4] of order 1 to 4, from tokens."""
    length = len(output)
    closest = min((len(tokens) for tokens in candidates), key=lambda size: (abs(size - length), size))
    totals = [max(0, length - order + 1) for order in range(1, _ORDER + 1)]
    return [length, closest, *clipped_matches(output, candidates), *totals]


def bleu_percent(statistics: np.ndarray) -> float:
    """BLEU in percent, not smoothed, from statistics [N, 10]; 0 where some order has no match."""
    sums = column_sums(statistics, 2 + 2 * _ORDER)
    length, reference_length = sums[:2]
    correct, total = sums[2 : 2 + _ORDER], sums[2 + _ORDER :]  # [4] each
    if (correct == 0).any():
        return 0.0
    log_brevity_penalty = min(0.0, 1.0 - reference_length / length)
    return float(100.0 * np.exp(log_brevity_penalty + np.log(correct / total).mean()))


@lru_cache(maxsize=1)
def _tokeniser_13a() -> Callable[[str], str]:
    """sacrebleu's mteval-v13a tokeniser; imported at the first score, so that importing metrics stays cheap."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()  # type: ignore[no-untyped-call]


def tokens_13a(text: str) -> list[str]:
    """Lower-case 13a tokens. Ends are stripped as e2e-metrics' reader does; lower-casing follows as in pymteval."""
    return [token.lower() for token in _tokeniser_13a()(text.strip()).split()]


def ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram of one order occurs."""
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def clipped_matches(output: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[int]:
    """Clipped n-gram matches [4] of an output with its references."""
    matches = []
    for order in range(1, _ORDER + 1):
        allowed: Counter[tuple[str, ...]] = Counter()
        for tokens in candidates:
            allowed |= ngrams(tokens, order)
        matches.append((ngrams(output, order) & allowed).total())
    return matches
