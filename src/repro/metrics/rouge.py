"""ROUGE-1, ROUGE-2 and ROUGE-L of summarisation, in the two averages that are reported for XSum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from repro.metrics.base import texts

_KINDS = ("rouge1", "rouge2", "rougeL")


class CorpusRouge:
    """Mean F of ROUGE-1, ROUGE-2 and ROUGE-L over the summaries, in percent: stemmed, ROUGE-L over the whole text.

    ROUGE-L does not split at newlines (that would be rougeLsum). With several references the best F counts for each
    value. Lester's T5 has no stemmer and rougeLsum: another metric.
    """

    name: str = "rouge_corpus"
    equals: str = "rouge_score 0.1.2 RougeScorer(rouge1, rouge2, rougeL; use_stemmer=True), F, plain mean, times 100"
    outputs: tuple[str, ...] = ("rouge1_corpus", "rouge2_corpus", "rougeL_corpus")
    higher_is_better: bool = True
    golden: str = "rouge_score itself and a written-out ROUGE-N on made-up texts"

    def score(self, prediction: str, references: Sequence[str | None]) -> list[float]:
        """Statistics [F of ROUGE-1, ROUGE-2, ROUGE-L, 1] of one summary, F from 0 to 1.

        Raises:
            ValueError: no reference.
        """
        found = [_scores()(text, prediction) for text in texts(self.name, references)]
        return [*(max(values) for values in zip(*found, strict=True)), 1.0]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """Mean F in percent from statistics [N, 4]."""
        *sums, weight = np.asarray(statistics, dtype=float).reshape(-1, 4).sum(axis=0)
        values = [float(100.0 * total / weight) if weight else 0.0 for total in sums]
        return dict(zip(self.outputs, values, strict=True))


class Rouge(CorpusRouge):
    """As Li and Liang's code averages: the mean of each batch of consecutive summaries, then the mean over batches.

    It differs from the plain mean only by a last batch that is smaller: its summaries weigh more. Each example's
    statistics carry that weight, so that sums are still enough.

    Deviation: the authors take the middle of 100 bootstrap resamples of each batch (which is random); here its mean.

    Args:
        batch_size: summaries a batch (the authors decode 8 for prefix-tuning, 10 for fine-tuning).

    Raises:
        ValueError: an empty batch.
    """

    name: str = "rouge"
    equals: str = (
        "Li and Liang seq2seq/utils.py calculate_rouge by batch, averaged over batches (rouge_score 0.1.2 with "
        "stemmer), but for its bootstrap"
    )
    outputs: tuple[str, ...] = _KINDS

    def __init__(self, batch_size: int = 8) -> None:
        if batch_size < 1:
            raise ValueError(f"rouge: batch_size is {batch_size}; a batch has at least 1 summary.")
        self.batch_size = batch_size

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Statistics [N, 4]: as `score`, each times 1 / size of the example's batch."""
        rows = [self.score(output, own) for output, own in zip(predictions, references, strict=True)]
        whole = len(rows) - len(rows) % self.batch_size
        sizes = [self.batch_size if index < whole else len(rows) - whole for index in range(len(rows))]
        return [[value / size for value in row] for row, size in zip(rows, sizes, strict=True)]


@lru_cache(maxsize=1)
def _scores() -> Callable[[str, str], tuple[float, ...]]:
    """F of the three kinds for a reference and a summary; rouge_score (and nltk) load at the first score."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(_KINDS), use_stemmer=True)

    def score(reference: str, summary: str) -> tuple[float, ...]:
        found = scorer.score(reference, summary)
        return tuple(found[kind].fmeasure for kind in _KINDS)

    return score
