"""ROUGE-L as the coco caption scorer computes it: the ROUGE-L of E2E."""

from __future__ import annotations

from collections.abc import Sequence

from repro.metrics import ptb
from repro.metrics.base import MeanMetric, texts
from repro.metrics.registry import register

_BETA = 1.2


@register("rouge_l_coco")
class CocoRougeL(MeanMetric[str, str | None]):
    """Mean ROUGE-L in percent: highest precision and highest recall over the references, then F with beta 1.2.

    On PTB tokens in lower case without punctuation (`ptb`). Precision and recall may come from two references. It is
    not the ROUGE-L of summarisation (`rouge`), which has no beta and another tokeniser.
    """

    name = "rouge_l_coco"
    equals = "e2e-metrics / pycocoevalcap 1.2 Rouge on PTBTokenizer's text, times 100"
    outputs = ("rouge_l",)
    costly = True
    needs = "Java and pycocoevalcap (extra generation-metrics), for the tokeniser"
    golden = "79.10 on the example files of e2e-metrics, and pycocoevalcap itself on made-up texts"

    def unavailable(self) -> str | None:
        """Why it cannot run here."""
        return ptb.unavailable()

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Statistics [F, 1] of each output, F from 0 to 1; one Java process.

        Raises:
            ValueError: no reference.
            MetricUnavailable: no Java.
        """
        own = [texts(self.name, some) for some in references]
        outputs, golds = ptb.tokenised_pairs(predictions, own)
        return [[coco_rouge_l(output, some), 1.0] for output, some in zip(outputs, golds, strict=True)]


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
