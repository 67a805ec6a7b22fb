"""What pre-training objectives do to a text's tokens: T5's spans, BART's gaps, BERT's masks, the cut of a prefix LM.

Plain numbers in and out, randomness only through the generator that is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.models.encoding.batch import IGNORE

Ids = list[int]


def _segments(generator: np.random.Generator, items: int, parts: int) -> np.ndarray:
    """`items` cut into `parts` non-empty lengths, every way equally likely (T5's `_random_segmentation`)."""
    marks = np.zeros(items - 1, dtype=np.int64)
    marks[: parts - 1] = 1
    bounds = np.flatnonzero(generator.permutation(marks)) + 1
    return np.diff(np.concatenate([[0], bounds, [items]]))


def noise_spans(generator: np.random.Generator, length: int, density: float, mean: float) -> np.ndarray:
    """Which tokens are noise [length], as T5's `random_spans_noise_mask`: kept and noise spans take turns, kept first.

    round(length x density) tokens (at least 1, at most length - 1) in round(that / mean) spans (at least 1, and never
    more than tokens are kept).
    """
    noise = min(max(round(length * density), 1), length - 1)
    spans = min(max(round(noise / mean), 1), length - noise)
    kept, hidden = _segments(generator, length - noise, spans), _segments(generator, noise, spans)
    lengths = np.stack([kept, hidden], 1).ravel()
    return np.repeat(np.tile([False, True], spans), lengths)


def span_corrupted(ids: Sequence[int], noise: np.ndarray, sentinels: Sequence[int]) -> tuple[Ids, Ids]:
    """Source with every noise span as its sentinel, target with every kept span as the sentinel of what follows it.

    T5's `noise_span_to_unique_sentinel` and `nonnoise_span_to_unique_sentinel`; no sentinel closes the target.
    """
    source: Ids = []
    target: Ids = []
    number = -1
    for place, (id, hidden) in enumerate(zip(ids, noise.tolist(), strict=True)):
        if hidden and (place == 0 or not noise[place - 1]):
            number += 1
            source.append(sentinels[number])
            target.append(sentinels[number])
        (target if hidden else source).append(id)
    return source, target


def prefix_split(generator: np.random.Generator, ids: Sequence[int]) -> tuple[Ids, Ids]:
    """First part and rest, the cut uniform between any two tokens (Raffel et al. 2020, Lester et al. section 3.2)."""
    cut = int(generator.integers(1, len(ids)))
    return list(ids[:cut]), list(ids[cut:])


def infilled(generator: np.random.Generator, ids: Sequence[int], mask: int, share: float, mean: float) -> Ids:
    """BART's text infilling: `share` of the tokens hidden in spans of Poisson(mean) lengths, one mask token a span.

    A span of length 0 puts a mask between two tokens. Spans do not touch: each is behind a kept token, or first.
    """
    budget = round(len(ids) * share)
    lengths: list[int] = []
    while (left := budget - sum(lengths)) > 0 and len(lengths) < len(ids):
        lengths.append(min(int(generator.poisson(mean)), left))
    kept = len(ids) - sum(lengths)
    lengths = lengths[: kept + 1]  # one more gap than kept tokens
    kept = len(ids) - sum(lengths)
    gaps = np.zeros(kept + 1, dtype=np.int64) - 1
    gaps[generator.choice(kept + 1, size=len(lengths), replace=False)] = lengths
    out: Ids = []
    place = 0
    for gap in range(kept + 1):
        if gaps[gap] >= 0:
            out.append(mask)
            place += int(gaps[gap])
        if gap < kept:
            out.append(ids[place])
            place += 1
    return out


def permuted(generator: np.random.Generator, ids: Sequence[int], ends: Sequence[int]) -> Ids:
    """BART's sentence permutation: the pieces that end in one of `ends` in random order."""
    sentences: list[Ids] = [[]]
    for id in ids:
        sentences[-1].append(id)
        if id in ends:
            sentences.append([])
    order = generator.permutation(len(sentences))
    return [id for number in order for id in sentences[number]]


def masked(
    generator: np.random.Generator,
    ids: Sequence[int],
    starts: np.ndarray,
    mask: int,
    first_piece: int,
    vocabulary: int,
    share: float = 0.15,
) -> tuple[Ids, Ids]:
    """BERT's masking by whole words: (ids with noise, labels with IGNORE elsewhere).

    Words are drawn until `share` of the tokens are chosen (at least one word). Of the chosen tokens 80 % become the
    mask token, 10 % a random piece, 10 % stay.

    Args:
        starts: [len(ids)] True where a word begins.
        first_piece: the first id that is no special token.
    """
    words = np.cumsum(starts)
    budget = max(1, round(len(ids) * share))
    chosen = np.zeros(len(ids), dtype=bool)
    for word in generator.permutation(np.unique(words)):
        if chosen.any() and chosen.sum() + (words == word).sum() > budget:
            continue
        chosen |= words == word
        if chosen.sum() >= budget:
            break
    kind, other = generator.random(len(ids)), generator.integers(first_piece, vocabulary, len(ids))
    plain = np.array(ids)
    noisy = np.where(chosen & (kind < 0.8), mask, np.where(chosen & (kind < 0.9), other, plain))
    return noisy.tolist(), np.where(chosen, plain, IGNORE).tolist()
