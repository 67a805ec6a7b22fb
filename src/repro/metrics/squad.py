"""Exact match and F1 of extractive question answering: SQuAD 1.1, SQuAD 2.0 and MRQA."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

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


def _percent(part: float, whole: float) -> float:
    return float(100.0 * part / whole) if whole else 0.0


class SquadEmF1:
    """Exact match and token F1 in percent, each the highest over the gold answers, averaged over questions.

    The MRQA shared task scores by the same rules, and so does T5 (Lester et al. 2021, Table 1).
    """

    name: str = "squad"
    equals: str = "SQuAD evaluate-v1.1.py; MRQA 2019 mrqa_official_eval.py; T5 evaluation.metrics.squad"
    outputs: tuple[str, ...] = ("f1", "exact_match")
    higher_is_better: bool = True

    def score(self, prediction: str, references: Sequence[str]) -> list[float]:
        """Statistics [F1, exact match, 1] of one question, from 0 to 1.

        Args:
            prediction: the answer's text.
            references: the gold answers, any of which is right.

        Raises:
            ValueError: there is no gold answer.
        """
        _require_references(self.name, references)
        best_f1 = max(token_f1(prediction, gold) for gold in references)
        return [best_f1, max(exact_match(prediction, gold) for gold in references), 1.0]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """F1 and exact match in percent from statistics [N, 3]."""
        f1, exact, total = np.asarray(statistics, dtype=float).reshape(-1, 3).sum(axis=0)
        return {"f1": _percent(f1, total), "exact_match": _percent(exact, total)}


def _require_references(name: str, references: Sequence[Any]) -> None:
    if len(references) == 0:
        raise ValueError(f"{name}: a question has no gold answer; score only splits whose answers are public.")


Prediction = str | Mapping[str, Any]
"""A text (empty: no answer), or a span model's `{text, answer, null_odds}`: the text at the fixed threshold, the best
piece of the context, and the score of no answer minus that piece's."""


def _v2_scores(prediction: str, references: Sequence[str]) -> tuple[float, float]:
    """F1 and exact match of one question of SQuAD 2.0, whose gold answer may be none (the empty text)."""
    golds = [gold for gold in references if normalised(gold)] or [""]
    return max(_v2_f1(prediction, gold) for gold in golds), max(exact_match(prediction, gold) for gold in golds)


def _v2_f1(prediction: str, gold: str) -> float:
    """As `token_f1`; where either text is empty once normalised, 1 if both are."""
    if not normalised(prediction) or not normalised(gold):
        return float(normalised(prediction) == normalised(gold))
    return token_f1(prediction, gold)


def _answerable(references: Sequence[str]) -> bool:
    """Whether the question has an answer: an unanswerable one has the empty text as its only reference."""
    return any(references)


class SquadV2EmF1:
    """Exact match and F1 in percent with questions that have no answer, which the empty text says (SQuAD 2.0).

    A span model says "no answer" where that scores higher than its best piece by more than the fixed threshold (0 in
    P-Tuning v2). The same two over answerable and unanswerable questions alone are given too.
    """

    name: str = "squad_v2"
    equals: str = "SQuAD evaluate-v2.0.py: exact, f1, HasAns_*, NoAns_* without a no-answer file"
    outputs: tuple[str, ...] = ("f1", "exact_match", "f1_answerable", "exact_match_answerable", "f1_unanswerable")
    higher_is_better: bool = True

    def score(self, prediction: Prediction, references: Sequence[str]) -> list[float]:
        """Statistics [F1, exact match, 1] of one question, then the same three if it is answerable, else zeros.

        Raises:
            ValueError: there is no gold answer, not even the empty one.
        """
        _require_references(self.name, references)
        text = prediction if isinstance(prediction, str) else prediction["text"]
        row = [*_v2_scores(text, references), 1.0]
        return row + (row if _answerable(references) else [0.0, 0.0, 0.0])

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """In percent, from statistics [N, 6]."""
        f1, exact, total, own_f1, own_exact, own = np.asarray(statistics, dtype=float).reshape(-1, 6).sum(axis=0)
        return {
            "f1": _percent(f1, total),
            "exact_match": _percent(exact, total),
            "f1_answerable": _percent(own_f1, own),
            "exact_match_answerable": _percent(own_exact, own),
            "f1_unanswerable": _percent(exact - own_exact, total - own),  # its F1 is its exact match
        }


class SquadV2Tuned:
    """The highest exact match and F1 in percent that any threshold for "no answer" reaches on this very split.

    Each is optimistic, since the threshold is chosen on the answers it is scored with; P-Tuning v2 reports the fixed
    threshold instead. Of a model that generates text there is no score to put a threshold on: its "no answer" counts
    as certain, and only "as said" and "never an answer" compete.

    Deviation: questions of equal odds change sides together; the official script may stop between them, in the order
    of the file.
    """

    name: str = "squad_v2_tuned"
    equals: str = "SQuAD evaluate-v2.0.py find_best_thresh over null odds: best_exact, best_f1 and their thresholds"
    outputs: tuple[str, ...] = ("best_f1", "best_exact_match", "best_f1_threshold", "best_exact_match_threshold")
    every_row: bool = True
    units: ClassVar[dict[str, str]] = dict.fromkeys(("best_f1_threshold", "best_exact_match_threshold"), "logits")
    higher_is_better: bool = True

    def score(self, prediction: Prediction, references: Sequence[str]) -> list[float]:
        """Statistics [F1 gained, exact match gained, unanswerable, null odds] of one question.

        Gained is what answering changes: the score of an answerable question, -1 where an unanswerable one is answered.

        Raises:
            ValueError: there is no gold answer, not even the empty one.
        """
        _require_references(self.name, references)
        if isinstance(prediction, str):
            answer, odds = prediction, float(not prediction)
        else:
            answer, odds = str(prediction["answer"]), float(prediction["null_odds"])
        if _answerable(references):
            return [*_v2_scores(answer, references), 0.0, odds]
        lost = -1.0 if answer else 0.0
        return [lost, lost, 1.0, odds]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """In percent, and the thresholds in the unit of the odds, from statistics [N, 4]. Needs every row: no sum."""
        rows = np.asarray(statistics, dtype=float).reshape(-1, 4)
        rows = rows[rows[:, 3].argsort(kind="stable")]
        last_of_equals = np.append(np.diff(rows[:, 3]) > 0, True) if len(rows) else np.zeros(0, dtype=bool)
        found: dict[str, float] = {}
        for column, name in enumerate(("best_f1", "best_exact_match")):
            reached = rows[:, 2].sum() + np.concatenate([[0.0], rows[:, column].cumsum()[last_of_equals]])
            thresholds = np.concatenate([[0.0], rows[last_of_equals, 3]])
            best = int(reached.argmax())
            found |= {name: _percent(reached[best], len(rows)), f"{name}_threshold": float(thresholds[best])}
        return {name: found[name] for name in self.outputs}
