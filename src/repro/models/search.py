"""Searches of the official codes that transformers no longer has, or never had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList, PreTrainedModel, StoppingCriteria


def _brevity_penalty(length: int) -> float:
    """T5X's, with its alpha of 0.6."""
    return float(((5 + length) / 6) ** 0.6)


class OneBeam(LogitsProcessor):
    """T5X's beam search with one beam (t5x/decoding.py `beam_search`, num_decodes 1), on top of a greedy search.

    Of the two likeliest tokens an end is put aside as a finished text, with its log-probability over a brevity penalty;
    the search goes on without it until no longer text can score more, and the best finished text is the answer.

    Args:
        end: id of the end of sequence.
        longest: tokens that may be generated, the end included.
    """

    def __init__(self, end: int, longest: int):
        self._end, self._longest_penalty = end, _brevity_penalty(longest + 1)
        self._length = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [N, V] of the next token without the end, which is noted."""
        shares = F.log_softmax(scores.float(), -1)
        if not self._length:
            self._live = shares.new_zeros(len(shares))
            self._best = shares.new_full((len(shares),), -torch.inf)
            self._best_length = torch.zeros(len(shares), dtype=torch.long, device=shares.device)
            self._done = torch.zeros(len(shares), dtype=torch.bool, device=shares.device)
        self._length += 1
        values, tokens = shares.topk(2)
        ends = (tokens == self._end).any(1) & ~self._done
        finished = (self._live + shares[:, self._end]) / _brevity_penalty(self._length)
        better = ends & (finished > self._best)
        self._best = torch.where(better, finished, self._best)
        self._best_length = torch.where(better, self._length - 1, self._best_length)
        self._live = self._live + torch.where(tokens[:, 0] == self._end, values[:, 1], values[:, 0])
        self._done |= self._best > self._live / self._longest_penalty
        kept = scores.clone()
        kept[:, self._end] = -torch.inf
        return kept

    @property
    def done(self) -> Tensor:
        """Rows [N] whose answer is known."""
        return self._done

    def answers(self, generated: Tensor, padding: int) -> Tensor:
        """The best texts among what was generated [N, U]: of rows without a finished text the whole."""
        lengths = torch.where(self._best > -torch.inf, self._best_length, generated.shape[1])
        behind = torch.arange(generated.shape[1], device=generated.device) >= lengths[:, None]
        return generated.masked_fill(behind, padding)


class WhenDone(StoppingCriteria):
    """Stops the rows whose `OneBeam` is done."""

    def __init__(self, search: OneBeam):
        self._search = search

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Rows [N] to stop."""
        return self._search.done


@dataclass
class _Row:
    """The search for one input: its finished texts, best `beams` of them."""

    counted: int
    """Tokens of the input, which count as part of a text's length."""
    beams: int
    penalty: float
    finished: list[tuple[float, list[int]]] = field(default_factory=list)
    done: bool = False

    def add(self, tokens: list[int], log_probability: float) -> None:
        score = log_probability / (self.counted + len(tokens)) ** self.penalty
        if len(self.finished) == self.beams and score <= self.worst:
            return
        self.finished.append((score, tokens))
        if len(self.finished) > self.beams:
            self.finished.remove(min(self.finished, key=lambda text: text[0]))

    @property
    def worst(self) -> float:
        return min(score for score, _ in self.finished)

    def close(self, best_log_probability: float, length: int, early: bool) -> None:
        """Ends the search where there are enough texts and, unless `early`, no candidate can displace one."""
        if len(self.finished) == self.beams:
            bound = best_log_probability / (self.counted + length) ** self.penalty
            self.done = self.done or early or self.worst >= bound


@torch.no_grad()
def input_counting_beams(
    model: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    counted: Tensor,
    processors: LogitsProcessorList,
    *,
    beams: int,
    longest: int,
    penalty: float,
    early: bool,
    end: int,
    padding: int,
) -> Tensor:
    """Beam search of transformers 3.2 in a decoder: a text's length counts the input's tokens and not the end.

    transformers 5 divides by the generated tokens, the end included, and so prefers longer texts. Written from the rule
    (PrefixTuning, transformers/generation_utils.py `_generate_beam_search` and `BeamHypotheses`).

    Args:
        inputs: input_ids [N, T] or inputs_embeds [N, T, D], padded on the left, and attention_mask [N, T].
        counted: tokens of each input [N].
        processors: change the log-probabilities [N x beams, V] of the next token.
        longest: tokens that may be generated.
        penalty: power of the length.
        early: stop with as many finished texts as beams.

    Returns:
        The best text of each input [N, U] without the end, padded on the right.
    """
    rows = [_Row(int(count), beams, penalty) for count in counted.tolist()]
    given = {name: tensor.repeat_interleave(beams, 0) for name, tensor in inputs.items()}
    mask = given["attention_mask"]
    given["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    live = torch.tensor([0.0] + [-1e9] * (beams - 1), device=mask.device).repeat(len(rows))
    texts = torch.empty(len(live), 0, dtype=torch.long, device=mask.device)
    for length in range(longest):
        logits = model(**given, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        shares = processors(texts, F.log_softmax(logits.float(), -1)) + live[:, None]
        values, places = shares.view(len(rows), -1).topk(2 * beams)
        parents, tokens, chances = _advance(rows, texts, values, places, length, shares.shape[1], early, end, padding)
        if all(row.done for row in rows):
            break
        order = torch.tensor(parents, device=mask.device)
        live = torch.tensor(chances, device=mask.device)
        texts = torch.cat([texts[order], torch.tensor(tokens, device=mask.device)[:, None]], 1)
        cache.reorder_cache(order)
        mask = torch.cat([mask[order], mask.new_ones(len(order), 1)], 1)
        given = {"input_ids": texts[:, -1:], "attention_mask": mask, "position_ids": mask.sum(1, keepdim=True) - 1}
    open_texts, open_values = texts.tolist(), live.tolist()
    for number, row in enumerate(rows):
        for beam in range(number * beams, (number + 1) * beams if not row.done else 0):
            row.add(open_texts[beam], open_values[beam])
    best = [max(row.finished, key=lambda text: text[0])[1] for row in rows]
    answers = torch.full((len(best), max(map(len, best))), padding)
    for answer, text in zip(answers, best, strict=True):
        answer[: len(text)] = torch.tensor(text)
    return answers


def _advance(
    rows: list[_Row],
    texts: Tensor,
    values: Tensor,
    places: Tensor,
    length: int,
    vocabulary: int,
    early: bool,
    end: int,
    padding: int,
) -> tuple[list[int], list[int], list[float]]:
    """Each row's next beams as (parent, token, log-probability), its ended texts put aside.

    Args:
        texts: generated so far [N x beams, length].
        values, places: the 2 x beams best candidates of each row, and where they stand among beams x vocabulary.
    """
    parents, tokens, chances = list[int](), list[int](), list[float]()
    for number, (row, scores, at) in enumerate(zip(rows, values.tolist(), places.tolist(), strict=True)):
        chosen: list[tuple[int, int, float]] = []
        for rank, (score, place) in enumerate(zip(scores, at, strict=True)):
            beam, token = divmod(place, vocabulary)
            if row.done or len(chosen) == row.beams:
                break
            if token != end:
                chosen.append((number * row.beams + beam, token, score))
            elif rank < row.beams:
                row.add(texts[number * row.beams + beam].tolist(), score)
        row.close(scores[0], length, early)
        chosen += [(number * row.beams, padding, 0.0)] * (row.beams - len(chosen))
        parents += [parent for parent, _, _ in chosen]
        tokens += [token for _, token, _ in chosen]
        chances += [chance for _, _, chance in chosen]
    return parents, tokens, chances
