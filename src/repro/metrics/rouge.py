"""ROUGE of summarisation, averaged over batches as Li and Liang's code does for XSum."""

from __future__ import annotations

from collections.abc import Sequence

from repro.metrics.registry import register
from repro.metrics.rouge_corpus import KINDS, CorpusRouge


@register("rouge")
class Rouge(CorpusRouge):
    """As Li and Liang's code averages: the mean of each batch of consecutive summaries, then the mean over batches.

    It differs from the plain mean only by a last batch that is smaller: its summaries weigh more. Each example's
    statistics carry that weight, so that sums are still enough.

    Deviation: only a-z and 0-9 count, as in rouge_score's tokeniser: texts in other scripts score 0, equal ones too.

    Deviation: the authors take the middle of 100 bootstrap resamples of each batch (which is random); here its mean.

    Args:
        batch_size: summaries a batch (the authors decode 8 for prefix-tuning, 10 for fine-tuning).

    Raises:
        ValueError: an empty batch.
    """

    name = "rouge"
    equals = (
        "Li and Liang seq2seq/utils.py calculate_rouge by batch, averaged over batches (rouge_score 0.1.2 with "
        "stemmer), but for its bootstrap"
    )
    outputs = KINDS

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
