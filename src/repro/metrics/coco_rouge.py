"""ROUGE-L as the coco caption scorer computes it: the ROUGE-L of E2E."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.metrics import ptb
from repro.metrics.base import texts

_BETA = 1.2


class CocoRougeL:
    """Mean ROUGE-L in percent: highest precision and highest recall over the references, then F with beta 1.2.

    On PTB tokens in lower case without punctuation (`ptb`). Precision and recall may come from two references. It is
    not the ROUGE-L of summarisation (`rouge`), which has no beta and another tokeniser.
    """

    name: str = "rouge_l_coco"
    equals: str = "e2e-metrics / pycocoevalcap 1.2 Rouge on PTBTokenizer's text, times 100"
    outputs: tuple[str, ...] = ("rouge_l",)
    higher_is_better: bool = True
    costly: bool = True
    needs: str = "Java and pycocoevalcap (extra generation-metrics), for the tokeniser"
    golden: str = "79.10 on the example files of e2e-metrics, and pycocoevalcap itself on made-up texts"

    def unavailable(self) -> str | None:
        """Why it cannot run here."""
        return ptb.unavailable()

    def score(self, prediction: str, references: Sequence[str | None]) -> list[float]:
        """Statistics [F, 1] of one output, F from 0 to 1.

        Raises:
            ValueError: no reference.
            MetricUnavailable: no Java.
        """
        return self.score_all([prediction], [references])[0]

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Statistics [N, 2]; one Java process."""
        own = [texts(self.name, some) for some in references]
        outputs, golds = ptb.tokenised_pairs(predictions, own)
        return [[coco_rouge_l(output, some), 1.0] for output, some in zip(outputs, golds, strict=True)]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """Mean F in percent from statistics [N, 2]."""
        total, count = np.asarray(statistics, dtype=float).reshape(-1, 2).sum(axis=0)
        return {"rouge_l": float(100.0 * total / count) if count else 0.0}


def coco_rouge_l(output: str, references: Sequence[str]) -> float:
    """F from 0 to 1 of one tokenised output. The empty text is one empty token, as `split(' ')` makes it."""
    words = output.split(" ")
    precision, recall = 0.0, 0.0
    for reference in references:
        own = reference.split(" ")
        common = longest_common_subsequence(words, own)
        precision, recall = max(precision, common / len(words)), max(recall, common / len(own))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Its length, by the usual table of which one row is kept."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for position, other in enumerate(second, start=1):
            above = row[position]
            row[position] = diagonal + 1 if word == other else max(above, row[position - 1])
            diagonal = above
    return row[-1]
