"""ROUGE-1, ROUGE-2 and ROUGE-L of summarisation: the plain mean over the summaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from repro.metrics.base import MeanMetric, texts
from repro.metrics.registry import register

KINDS = ("rouge1", "rouge2", "rougeL")


@register("rouge_corpus")
class CorpusRouge(MeanMetric[str, str | None]):
    """Mean F of ROUGE-1, ROUGE-2 and ROUGE-L over the summaries, in percent: stemmed, ROUGE-L over the whole text.

    Deviation: only a-z and 0-9 count, as in rouge_score's tokeniser: texts in other scripts score 0, equal ones too.

    ROUGE-L does not split at newlines (that would be rougeLsum). With several references the best F counts for each
    value. Lester's T5 has no stemmer and rougeLsum: another metric.
    """

    name = "rouge_corpus"
    equals = "rouge_score 0.1.2 RougeScorer(rouge1, rouge2, rougeL; use_stemmer=True), F, plain mean, times 100"
    outputs = ("rouge1_corpus", "rouge2_corpus", "rougeL_corpus")
    golden = "rouge_score itself and a written-out ROUGE-N on made-up texts"

    def score(self, prediction: str, references: Sequence[str | None]) -> list[float]:
        """Statistics [F of ROUGE-1, ROUGE-2, ROUGE-L, 1] of one summary, F from 0 to 1.

        Raises:
            ValueError: no reference.
        """
        scores = [_scores()(text, prediction) for text in texts(self.name, references)]
        return [*(max(values) for values in zip(*scores, strict=True)), 1.0]


@lru_cache(maxsize=1)
def _scores() -> Callable[[str, str], tuple[float, ...]]:
    """F of the three kinds for a reference and a summary; rouge_score (and nltk) load at the first score."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(KINDS), use_stemmer=True)

    def score(reference: str, summary: str) -> tuple[float, ...]:
        found = scorer.score(reference, summary)
        return tuple(found[kind].fmeasure for kind in KINDS)

    return score
