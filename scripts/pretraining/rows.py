"""Documents to rows to batches: a stream that is a function of (config, seed), whatever was trained on before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from repro.models.encoding.batch import IGNORE, Batch, Encoded, collate
from scripts.pretraining.corruption import infilled, masked, noise_spans, permuted, prefix_split, span_corrupted
from scripts.pretraining.from_scratch import tokens_of

Documents = Callable[[int], Iterator[str]]
"""seed -> an endless stream of short documents."""
NOISE, SPAN, INFILLED, GAP = 0.15, 3.0, 0.3, 3.0
"""T5's share and mean span; BART's share and mean of the Poisson."""
ONE_SEGMENT = 0.25
"""How many of BERT's rows have no second segment; of the others every second one has another document's."""


class RowMaker:
    """Token ids of documents to rows of an objective."""

    def __init__(self, objective: str, tokenizer: Any, context: int):
        self.objective, self.tokenizer, self.context = objective, tokenizer, context
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        special = set(tokenizer.all_special_tokens)
        self._first_piece = next(id for id, token in enumerate(tokens) if token not in special)
        self._ends = [id for id, token in enumerate(tokens) if token in (".", "?", "!")]
        self._begins = np.array([token.startswith("Ġ") for token in tokens])
        self._sentinels = [id for id, token in enumerate(tokens) if token.startswith("<extra_id_")]

    def rows(self, generator: np.random.Generator, documents: Sequence[list[int]]) -> list[Encoded]:
        """Rows of a pool of documents, in random order; only a causal LM puts several documents into one."""
        order = generator.permutation(len(documents))
        shuffled = [documents[number] for number in order if len(documents[number]) > 1]
        if self.objective == "causal_lm":
            return [_causal(ids) for ids in self._packed(shuffled)]
        make = {
            "span_corruption": self._spans,
            "prefix_lm": self._prefix,
            "infilling": self._infilling,
            "masked_lm": self._masked,
        }[self.objective]
        return [
            make(generator, ids, shuffled[number - 1])  # BERT's other segment is the document before it
            for number, ids in enumerate(shuffled)
        ]

    def _packed(self, documents: Sequence[list[int]]) -> list[list[int]]:
        """Whole documents one after another, each closed by the end token, as many as fit into the context."""
        end = self.tokenizer.eos_token_id
        rows: list[list[int]] = [[]]
        for ids in documents:
            closed = [*ids[: self.context - 1], end]
            if len(rows[-1]) + len(closed) > self.context:
                rows.append([])
            rows[-1].extend(closed)
        return rows

    def _text_to_text(self, source: Sequence[int], target: Sequence[int]) -> Encoded:
        """Both closed as the family's tokenizer closes them."""
        *opening, ending = self.tokenizer("")["input_ids"]
        made = (*opening, *source, ending)
        return Encoded(made, len(made), target_ids=(*opening, *target, ending))

    def _spans(self, generator: np.random.Generator, ids: list[int], other: list[int]) -> Encoded:
        cut = ids[: self.context - 1]
        noise = noise_spans(generator, len(cut), NOISE, SPAN)
        return self._text_to_text(*span_corrupted(cut, noise, self._sentinels))

    def _prefix(self, generator: np.random.Generator, ids: list[int], other: list[int]) -> Encoded:
        return self._text_to_text(*prefix_split(generator, ids[: self.context - 1]))

    def _infilling(self, generator: np.random.Generator, ids: list[int], other: list[int]) -> Encoded:
        cut = ids[: self.context - 3]
        noisy = infilled(generator, permuted(generator, cut, self._ends), self.tokenizer.mask_token_id, INFILLED, GAP)
        return self._text_to_text(noisy[: self.context - 2], cut)

    def _masked(self, generator: np.random.Generator, ids: list[int], other: list[int]) -> Encoded:
        cut, kind = ids[: self.context - 3], generator.random()
        segments, follows = [cut], IGNORE
        if kind > ONE_SEGMENT and len(cut) > 1:
            place = int(generator.integers(1, len(cut)))
            follows = int(generator.random() < 0.5)
            second = cut[place:] if follows else other[max(0, len(other) - (len(cut) - place)) :]
            segments = [cut[:place], second]
        whole = [id for segment in segments for id in segment]
        noisy, labels = masked(
            generator,
            whole,
            self._begins[whole],
            self.tokenizer.mask_token_id,
            self._first_piece,
            len(self.tokenizer),
            NOISE,
        )
        return _bert_row(self.tokenizer, segments, noisy, labels, follows)


def _causal(ids: list[int]) -> Encoded:
    return Encoded(tuple(ids), 0, token_labels=tuple(ids))


def _bert_row(tokenizer: Any, segments: list[list[int]], noisy: list[int], labels: list[int], follows: int) -> Encoded:
    """[CLS] first [SEP], and second [SEP] of type 1 where there is one; special tokens carry no label."""
    made, token_labels, types, place = [tokenizer.cls_token_id], [IGNORE], [0], 0
    for number, segment in enumerate(segments):
        size = len(segment)
        made += [*noisy[place : place + size], tokenizer.sep_token_id]
        token_labels += [*labels[place : place + size], IGNORE]
        types += [number] * (size + 1)
        place += size
    return Encoded(tuple(made), len(made), token_types=tuple(types), token_labels=tuple(token_labels), label=follows)


def batches(
    maker: RowMaker, documents: Documents, seed: int, pool: int, batch_tokens: int, strips: int = 1
) -> Iterator[Batch]:
    """Endless batches, pool after pool of documents."""
    stream, number = documents(seed), 0
    while True:
        yield from pool_batches(maker, [next(stream) for _ in range(pool)], seed, number, batch_tokens, strips)
        number += 1


def pool_batches(
    maker: RowMaker, texts: list[str], seed: int, number: int, batch_tokens: int, strips: int = 1
) -> list[Batch]:
    """A pool of documents as rows, cut into batches of like length, which come in random order.

    Args:
        number: of the pool; its noise is a function of (seed, number) alone.
        batch_tokens, strips: as `cut_by_tokens` takes them.
    """
    generator = np.random.Generator(np.random.PCG64([seed, number]))
    if maker.objective == "causal_lm":  # as the harness writes source and target: a space on both sides
        texts = [f" {text} " for text in texts]
    made = cut_by_tokens(maker.rows(generator, tokens_of(maker.tokenizer, texts)), batch_tokens, strips)
    return [collate(made[chosen], pad_id(maker.tokenizer)) for chosen in generator.permutation(len(made))]


def pad_id(tokenizer: Any) -> int:
    """The padding's id; a family without one is padded with the end of text, which no label stands on."""
    found = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return int(found)


def cut_by_tokens(rows: Sequence[Encoded], batch_tokens: int, strips: int = 1) -> list[list[Encoded]]:
    """Rows of like length together, cut where the longest times the number of rows would exceed `batch_tokens`.

    Args:
        strips: 1 sorts by source and target together. More: by source into so many parts, each then by target, for
            objectives where a long source has a short target.
    """
    out: list[list[Encoded]] = []
    widest = 0
    for row in _alike(rows, strips):
        longer = max(widest, _length(row))
        if not out or longer * (len(out[-1]) + 1) > batch_tokens:
            out.append([])
            longer = _length(row)
        widest = longer
        out[-1].append(row)
    return out


def _alike(rows: Sequence[Encoded], strips: int) -> list[Encoded]:
    if strips == 1:
        return sorted(rows, key=_length)
    by_source = sorted(rows, key=lambda row: len(row.ids))
    size = -(-len(rows) // strips)
    parts = [by_source[start : start + size] for start in range(0, len(rows), size)]
    return [row for part in parts for row in sorted(part, key=lambda row: len(row.target_ids or ()))]


def _length(row: Encoded) -> int:
    return len(row.ids) + len(row.target_ids or ())
