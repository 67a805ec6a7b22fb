"""What objectives do to tokens, against each rule written out."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest

from repro.models.encoding.batch import IGNORE
from scripts.pretraining.corruption import infilled, masked, noise_spans, permuted, prefix_split, span_corrupted

SENTINELS = list(range(900, 932))
MASK = 999


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def runs(noise: np.ndarray) -> list[tuple[bool, int]]:
    found: list[list] = []
    for hidden in noise.tolist():
        if found and found[-1][0] == hidden:
            found[-1][1] += 1
        else:
            found.append([hidden, 1])
    return [(hidden, size) for hidden, size in found]


@pytest.mark.parametrize("length", [2, 3, 5, 20, 55, 128, 255])
def test_noise_has_t5s_share_and_number_of_spans(length):
    for seed in range(50):
        noise = noise_spans(generator(seed), length, 0.15, 3.0)
        hidden = min(max(round(length * 0.15), 1), length - 1)
        spans = min(max(round(hidden / 3), 1), length - hidden)
        assert len(noise) == length and noise.sum() == hidden
        found = runs(noise)
        assert [kind for kind, _ in found] == [False, True] * spans, "kept and noise take turns, kept first"


def test_every_way_to_cut_the_noise_is_as_likely():
    """8 of 53 tokens in 3 spans: of the 21 ways to cut 8 into 3, each comes 1 time in 21."""
    draw, number = generator(), 6000
    cuts = Counter(
        tuple(size for hidden, size in runs(noise_spans(draw, 53, 0.15, 3.0)) if hidden) for _ in range(number)
    )
    assert len(cuts) == 21 and {sum(cut) for cut in cuts} == {8}
    expected = number / 21
    chi2 = sum((count - expected) ** 2 / expected for count in cuts.values())
    assert chi2 < 45.3  # the 99.9 % point of chi-squared with 20 degrees of freedom


def rebuilt(source: list[int], target: list[int]) -> list[int]:
    """The text, from what the encoder reads and what the decoder must say."""
    spans: dict[int, list[int]] = {}
    for id in target:
        if id in SENTINELS:
            spans[id] = []
            now = id
        else:
            spans[now].append(id)
    return [inner for id in source for inner in spans.get(id, [id])]


def test_source_and_target_together_are_the_text():
    for seed in range(20):
        draw = generator(seed)
        ids = draw.integers(0, 900, draw.integers(2, 200)).tolist()
        noise = noise_spans(draw, len(ids), 0.15, 3.0)
        source, target = span_corrupted(ids, noise, SENTINELS)
        spans = sum(hidden for hidden, _ in runs(noise))
        assert [id for id in source if id in SENTINELS] == SENTINELS[:spans] == [id for id in target if id in SENTINELS]
        assert len(source) == len(ids) - noise.sum() + spans and len(target) == noise.sum() + spans
        assert rebuilt(source, target) == ids


def test_a_prefix_is_cut_at_every_place_as_often():
    draw, number = generator(), 4000
    cuts = Counter()
    for _ in range(number):
        first, rest = prefix_split(draw, list(range(9)))
        assert first + rest == list(range(9)) and first and rest
        cuts[len(first)] += 1
    assert set(cuts) == set(range(1, 9))
    chi2 = sum((count - number / 8) ** 2 / (number / 8) for count in cuts.values())
    assert chi2 < 24.4  # 99.9 %, 7 degrees of freedom


def kept_between_masks(ids: list[int], noisy: list[int]) -> bool:
    """Whether the noisy text is the text with pieces, which may be empty, replaced by one mask each."""
    pattern = "".join(".*" if id == MASK else re.escape(chr(id + 1000)) for id in noisy)
    return re.fullmatch(pattern, "".join(chr(id + 1000) for id in ids)) is not None


@pytest.mark.parametrize("length", [1, 2, 7, 60, 250])
def test_infilling_hides_its_share_behind_one_mask_a_span(length):
    sizes = []
    for seed in range(60):
        ids = list(range(length))
        noisy = infilled(generator(seed), ids, MASK, 0.3, 3.0)
        kept = [id for id in noisy if id != MASK]
        assert kept == sorted(kept) and len(set(kept)) == len(kept)
        assert kept_between_masks(ids, noisy)
        assert (MASK, MASK) not in list(itertools.pairwise(noisy)), "spans do not touch"
        sizes.append(length - len(kept))
    if length >= 7:
        assert np.mean(sizes) == pytest.approx(round(length * 0.3), rel=0.05)


def test_lengths_of_gaps_are_poisson():
    """Of 20,000 tokens, before the last gap is cut: mean 3, and e^-3 of the gaps are empty."""
    ids = list(range(20000))
    noisy = infilled(generator(), ids, -1, 0.3, 3.0)
    lengths, place = [], 0
    for position, id in enumerate(noisy):
        if id == -1:
            following = noisy[position + 1] if position + 1 < len(noisy) else len(ids)
            lengths.append(following - place)
        else:
            place = id + 1
    assert np.mean(lengths) == pytest.approx(3.0, rel=0.06)
    assert np.mean(np.array(lengths) == 0) == pytest.approx(np.exp(-3), rel=0.3)


def test_sentences_change_places_and_stay_whole():
    ids = [1, 2, 0, 3, 0, 4, 5, 6]
    orders = {tuple(permuted(generator(seed), ids, ends=[0])) for seed in range(60)}
    one, two, three = (1, 2, 0), (3, 0), (4, 5, 6)
    assert orders == {
        one + two + three, one + three + two, two + one + three, two + three + one, three + one + two, three + two + one
    }  # fmt: skip


def test_masking_shares_and_whole_words():
    draw = generator()
    counts: Counter = Counter()
    for _ in range(300):
        length = 100
        ids = draw.integers(5, 900, length).tolist()
        starts = draw.random(length) < 0.7
        starts[0] = True
        noisy, labels = masked(draw, ids, starts, MASK, first_piece=5, vocabulary=900)
        words = np.cumsum(starts)
        chosen = np.array(labels) != IGNORE
        assert all(label in (IGNORE, id) for label, id in zip(labels, ids, strict=True))
        assert all(len(set(chosen[words == word])) == 1 for word in words), "words are hidden whole"
        assert all(now == id for now, id, hidden in zip(noisy, ids, chosen, strict=True) if not hidden)
        for now, id, hidden in zip(noisy, ids, chosen, strict=True):
            if hidden:
                counts["mask" if now == MASK else "same" if now == id else "other"] += 1
                assert now == MASK or 5 <= now < 900
        counts["chosen"] += int(chosen.sum())
    assert counts["chosen"] / 30000 == pytest.approx(0.15, abs=0.005)
    shares = {name: counts[name] / counts["chosen"] for name in ("mask", "same", "other")}
    assert shares == pytest.approx({"mask": 0.8, "same": 0.1, "other": 0.1}, abs=0.02)


def test_a_short_text_has_at_least_one_word_masked():
    noisy, labels = masked(generator(), [7, 8], np.array([True, False]), MASK, 5, 900)
    assert labels == [7, 8] and len(noisy) == 2
