"""Exact match and F1 of extractive question answering: SQuAD 1.1 and MRQA."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from repro.metrics.base import MeanMetric
from repro.metrics.registry import register

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation and the words a, an, the, single spaces: in that order."""
    plain = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact_match(prediction: str, gold: str) -> float:
    """1 if both are equal once normalised, else 0."""
    return float(normalised(prediction) == normalised(gold))


def token_f1(prediction: str, gold: str) -> float:
    """F1 of the normalised words, as multisets; 0 without a common word."""
    predicted, wanted = normalised(prediction).split(), normalised(gold).split()
    common = (Counter(predicted) & Counter(wanted)).total()
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


@register("squad")
class SquadEmF1(MeanMetric[str, str]):
    """Exact match and token F1 in percent, each the highest over the gold answers, averaged over questions.

    The MRQA shared task scores by the same rules, and so does T5 (Lester et al. 2021, Table 1).
    """

    name = "squad"
    equals = "SQuAD evaluate-v1.1.py; MRQA 2019 mrqa_official_eval.py; T5 evaluation.metrics.squad"
    outputs = ("f1", "exact_match")

    def score(self, prediction: str, references: Sequence[str]) -> list[float]:
        """Statistics [F1, exact match, 1] of one question, from 0 to 1.

        Args:
            prediction: the answer's text.
            references: the gold answers, any of which is right.

        Raises:
            ValueError: there is no gold answer.
        """
        require_references(self.name, references)
        best_f1 = max(token_f1(prediction, gold) for gold in references)
        return [best_f1, max(exact_match(prediction, gold) for gold in references), 1.0]


def require_references(name: str, references: Sequence[str]) -> None:
    """Raises ValueError: there is no gold answer."""
    if len(references) == 0:
        raise ValueError(f"{name}: a question has no gold answer; score only splits whose answers are public.")
