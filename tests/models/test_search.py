"""Searches of the official codes, against their rules written out for one input at a time and without a cache."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import LogitsProcessorList

from repro.methods.base import Injection
from repro.models.encoder_decoder import UNKNOWN, texts
from repro.models.search import OneBeam, input_counting_beams
from tests.models.loaded import CPU, DATA, facts, load_backbone

END, PAD = 1, 0


@pytest.fixture(scope="module")
def decoder() -> Any:
    """A tiny GPT-2 whose end of sequence is likely now and then."""
    bone = load_backbone(facts("tiny-gpt2"), {"dtype": "float64"}, CPU)[0]
    bone.inject(Injection(), None)
    with torch.no_grad():
        bone.model.get_input_embeddings().weight[END] *= 4
    return bone.model


def shares(model: Any, ids: list[int]) -> list[float]:
    with torch.no_grad():
        return F.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), -1).tolist()


def official(model: Any, source: list[int], beams: int, longest: int, penalty: float, early: bool) -> list[int]:
    """transformers 3.2's search for one input: score = log-probability / (all tokens without the end) ** penalty."""
    live, ended, done = [(0.0, list[int]())], [], False
    for _ in range(longest):
        candidates = [
            (value + share, text, token)
            for value, text in live
            for token, share in enumerate(shares(model, source + text))
        ]
        best = sorted(candidates, key=lambda candidate: -candidate[0])[: 2 * beams]
        live = []
        for rank, (value, text, token) in enumerate(best):
            if token != END:
                live.append((value, [*text, token]))
            elif rank < beams:
                ended.append((value / (len(source) + len(text)) ** penalty, text))
                ended = sorted(ended, key=lambda one: -one[0])[:beams]
            if len(live) == beams:
                break
        bound = best[0][0] / (len(source) + len(live[0][1]) - 1) ** penalty
        if len(ended) == beams and (early or ended[-1][0] >= bound):
            done = True
            break
    if not done:
        ended += [(value / (len(source) + len(text)) ** penalty, text) for value, text in live]
    return max(ended, key=lambda one: one[0])[1]


@pytest.mark.parametrize(("penalty", "early"), [(1.0, False), (1.0, True), (0.5, False)])
def test_beams_that_count_the_input_are_the_official_ones(decoder, penalty, early):
    generator = torch.Generator().manual_seed(3)
    sources = [torch.randint(6, 200, (length,), generator=generator).tolist() for length in (9, 3, 6, 5, 12, 4)]
    width = max(map(len, sources))
    ids = torch.tensor([[PAD] * (width - len(source)) + source for source in sources])
    mask = torch.tensor([[0] * (width - len(source)) + [1] * len(source) for source in sources])
    found = input_counting_beams(
        decoder,
        {"input_ids": ids, "attention_mask": mask},
        mask.sum(1),
        LogitsProcessorList(),
        beams=3,
        longest=8,
        penalty=penalty,
        early=early,
        end=END,
        padding=PAD,
    )
    wanted = [official(decoder, source, 3, 8, penalty, early) for source in sources]
    got = [row[: len(text)] for row, text in zip(found.tolist(), wanted, strict=True)]
    assert got == wanted
    assert all(set(row[len(text) :]) <= {PAD} for row, text in zip(found.tolist(), wanted, strict=True))
    assert len(set(map(len, wanted))) > 1, "some end early"


def one_beam(steps: list[list[float]]) -> list[int]:
    """T5X's rule for one row, its next-token probabilities given for every length of the text."""
    live, text, best, answer = 0.0, list[int](), -math.inf, None
    for length, probabilities in enumerate(steps, start=1):
        ranked = sorted(range(len(probabilities)), key=lambda token: -probabilities[token])[:2]
        for token in ranked:
            score = (live + math.log(probabilities[token])) / ((5 + length) / 6) ** 0.6
            if token == END and score > best:
                best, answer = score, list(text)
        token = next(token for token in ranked if token != END)
        live, text = live + math.log(probabilities[token]), [*text, token]
        if best > live / ((5 + len(steps) + 1) / 6) ** 0.6:
            break
    return text if answer is None else answer


def test_t5xs_search_keeps_an_end_that_comes_second():
    """An end that is only the second likeliest token may still give the best text, which greedy search never sees."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.softmax(torch.randn(6, 5, generator=generator) * 2, -1).tolist() for _ in range(300)]
    search, ids = OneBeam(END, 6), torch.empty(len(rows), 0, dtype=torch.long)
    for step in range(6):
        scores = torch.log(torch.tensor([row[step] for row in rows]))
        kept = search(ids, scores)
        assert bool((kept[:, END] == -torch.inf).all())
        ids = torch.cat([ids, kept.argmax(-1, keepdim=True)], 1)
    found = search.answers(ids, PAD).tolist()
    wanted = [one_beam(row) for row in rows]
    assert [row[: len(text)] for row, text in zip(found, wanted, strict=True)] == wanted
    greedy = [
        row.index(END) if END in row else 6 for row in ([max(range(5), key=p.__getitem__) for p in r] for r in rows)
    ]
    assert sum(len(text) != length for text, length in zip(wanted, greedy, strict=True)) > 20, "it is not greedy search"


@pytest.mark.real
def test_unknown_pieces_are_written_as_sentencepiece_writes_them():
    import sentencepiece
    from transformers import T5Tokenizer

    path = DATA / "tokenizers" / "t5" / "spiece.model"
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist (set REPRO_DATA_ROOT)")
    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = T5Tokenizer.from_pretrained(path.parent)
    unknown, true, word = reference.unk_id(), *reference.encode("True name")
    for ids in ([unknown, true], [true, unknown], [true, unknown, word], [unknown], [true, word]):
        assert texts(tokenizer, torch.tensor([[*ids, 1, 0]])) == [reference.decode(ids)], ids
    assert UNKNOWN in reference.decode([unknown, true])
