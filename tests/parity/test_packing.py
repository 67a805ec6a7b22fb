"""Packed sequences give what the padded batch gives: loss and every gradient, for every family, site and format."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.methods.base import PLACEMENTS, Injection
from repro.models.attention.packing import runs
from repro.models.backbone import Backbone
from repro.models.encoder import EncoderAdapter
from repro.models.encoding.batch import IGNORE, Encoded, collate
from tests.models.loaded import load_backbone
from tests.pairwise import pairwise
from tests.parity.tiny_models import (
    ENCODERS,
    FAMILIES,
    IMPLEMENTATIONS,
    OWN,
    adapter,
    backbone,
    close,
    facts,
    fresh_backbone,
    make_batch,
    prompts,
    random_embeds,
    random_head,
    random_kv,
    trained_of,
)

pytestmark = pytest.mark.parity
P, LENGTHS, ROWS = 4, (9, 3, 17, 7, 7, 4, 12), [2, 0, 1, 0, 2, 2, 1]


@contextmanager
def packing(bone: Backbone, value: Any) -> Iterator[list[bool]]:
    """`trainer.packing` of a backbone; gives whether each of its passes was packed."""
    seen, kept, pack = [], bone.packing, bone.pack

    def noted(sites: Any) -> None:
        seen.append(True)
        pack(sites)

    bone.packing, bone.pack = value, noted
    try:
        yield seen
    finally:
        bone.packing = kept
        del bone.pack


def both(bone: Backbone, compute: Callable[[], Tensor], wanted: list[Tensor]) -> None:
    """Values and gradients of `compute` are equal whether sequences are packed or padded."""
    with packing(bone, False) as seen:
        padded = compute()
        assert not seen
    with packing(bone, True) as seen:
        packed = compute()
        assert seen == [True]
    close(packed, padded)
    weights = torch.linspace(1, 2, packed.numel(), dtype=packed.dtype).view_as(packed)
    finite = torch.isfinite(packed.detach())
    pairs = zip(
        torch.autograd.grad((packed * weights)[finite].sum(), wanted),
        torch.autograd.grad((padded * weights)[finite].sum(), wanted),
        strict=True,
    )
    for got, gradient in pairs:
        close(got, gradient)


def prompts_of(name: str) -> list[str]:
    """Those that the family has a site for, and something to train."""
    kinds = {"encoder": ("none", "kv at encoder"), "decoder": ("kv at decoder",)}
    three = ("kv at encoder", "kv at decoder", "kv at cross")
    return [*PLACEMENTS, *kinds.get(facts(name)["kind"], three), "kv"]


CASES = [(name, *row) for name in FAMILIES for row in pairwise(IMPLEMENTATIONS, prompts_of(name), (1, 3))]


@pytest.mark.parametrize(("name", "attention", "prompt", "trials"), CASES)
def test_losses_and_gradients(name, attention, prompt, trials):
    bone = backbone(name, attention)
    injection = prompts(bone.spec, trials, OWN if trials == 3 else None)[prompt]
    batch = make_batch(bone, LENGTHS, rows=[0] * len(ROWS) if trials == 1 else ROWS)
    both(bone, lambda: adapter(bone).losses(batch, injection).total, trained_of(injection))


FORMATS = ("pair", "choice", "ranking", "tagging", "span", "cloze", "open cloze")


def encoded(bone: Backbone, format: str, slots: bool) -> list[Encoded]:
    """Examples of a format; every length of LENGTHS once, an even number of them."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for index, length in enumerate((*LENGTHS, 5)):
        ids = tuple(torch.randint(6, 262, (length,), generator=generator).tolist())
        item = Encoded(ids, length, label=index % 2)
        if format == "tagging":
            labels = (IGNORE, *((0, 1, IGNORE, 2)[place % 4] for place in range(length - 1)))
            item = replace(item, label=None, token_labels=labels, word_starts=(1, 2))
        if format == "span":
            item = replace(item, label=None, answer=(index % 3, length - 1))
        if format in ("cloze", "open cloze"):
            item = replace(item, mask_at=length - 1 - index % 2, label=index % 2 if format == "cloze" else ids[0])
        if slots:
            item = replace(item, slots=(-1, *range(min(P, length - 1)), *(-1,) * max(0, length - 1 - P)))
        made.append(item)
    return made


@cache
def cloze_backbone(name: str) -> Backbone:
    """A tiny encoder with its language-model head."""
    trainer = {"dtype": "float64", "attention": "sdpa"}
    return load_backbone(facts(name), trainer, torch.device("cpu"), "cloze")[0]


def in_form(name: str, format: str) -> tuple[Backbone, EncoderAdapter]:
    """The encoder in its role."""
    if format not in ("cloze", "open cloze"):
        bone = backbone(name)
        return bone, EncoderAdapter(bone, None, format)
    bone = cloze_backbone(name)
    return bone, EncoderAdapter(bone, None, "cloze", verbaliser=(40, 50) if format == "cloze" else ())


@pytest.mark.parametrize(
    ("name", "format", "prompt", "trials"),
    pairwise(ENCODERS, FORMATS, ["kv", "before", "after", "template", "as in the official PT"], [1, 3]),
)
def test_every_format_of_an_encoder(name, format, prompt, trials):
    bone, adapted = in_form(name, format)
    rows = [0] * 8 if trials == 1 else [2, 2, 0, 0, 1, 1, 2, 2]
    choices = 2 if format == "choice" else 1
    batch = collate(encoded(bone, format, prompt == "template"), 0, rows=rows, choices=choices)
    outputs = {"choice": 1, "ranking": 2, "span": 2}.get(format, 3)
    head = None if "cloze" in format else random_head(bone.spec, outputs, trials)
    if prompt == "kv":
        injection = Injection(kv=random_kv(bone.spec, P, trials), position_shift=P, head=head)
    elif prompt == "as in the official PT":
        both_switches = {"embedded_twice": True, "pooled_at_prompt": format == "choice"}
        injection = Injection(random_embeds(bone.spec, P, trials), head=head, **both_switches)
    else:
        injection = Injection(random_embeds(bone.spec, P, trials), prompt, head=head)
    trained = trained_of(injection)
    if format in ("choice", "span"):  # one bias for all that a softmax runs over: its gradient is 0
        trained = trained[:-1]
    both(bone, lambda: adapted.losses(batch, injection).total, trained)
    with packing(bone, False):
        wanted = adapted.logits(batch, injection)
    with packing(bone, True):
        got = adapted.logits(batch, injection)
    real = batch.mask.bool() if format in ("tagging", "span") else slice(None)
    close(got[real], wanted[real])
    if format == "span":  # padding is no place for an answer
        assert torch.isinf(got[~batch.mask.bool()]).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gradient_of_a_tuned_backbone(name):
    """Weights inside the model are reached too: T5's table of positions, norms that saving ones stand in for."""
    bone = fresh_backbone(name)
    bone.whole.requires_grad_(True)
    batch, head = make_batch(bone, LENGTHS), random_head(bone.spec, 3)
    wanted = [p for n, p in bone.whole.named_parameters() if used(n)]
    assert len(wanted) > 15

    def compute() -> Tensor:
        return adapter(bone).losses(batch, Injection(head=head)).total

    with packing(bone, False):
        padded = torch.autograd.grad(compute().sum(), wanted)
    with packing(bone, True) as seen:
        packed = torch.autograd.grad(compute().sum(), wanted)
        assert seen
    largest = 0.0
    for got, gradient in zip(packed, padded, strict=True):
        torch.testing.assert_close(got, gradient, rtol=1e-9, atol=1e-9)
        largest = max(largest, float(gradient.abs().max()))
    assert largest > 1e-2


def used(name: str) -> bool:
    """Whether the loss depends on a weight of this name: RoBERTa's and BERT's do on all."""
    return "final_logits_bias" not in name


@pytest.mark.parametrize("name", FAMILIES)
def test_in_float32_to_a_millionth(name):
    """Relative to the largest: the memory-saving norms and activations round otherwise than the library's."""
    bone = backbone(name, dtype="float32")
    kv = {
        site: replace(one, keys=one.keys.float(), values=one.values.float())
        for site, one in random_kv(bone.spec, P).items()
    }
    wanted = [tensor.detach().requires_grad_() for one in kv.values() for tensor in (one.keys, one.values)]
    kv = {site: replace(one, keys=wanted[2 * i], values=wanted[2 * i + 1]) for i, (site, one) in enumerate(kv.items())}
    head = random_head(bone.spec, 3)
    head = head and replace(head, weight=head.weight.float(), bias=head.bias.float())
    injection, batch, found = Injection(kv=kv, position_shift=P, head=head), make_batch(bone, LENGTHS), []
    for value in (False, True):
        with packing(bone, value):
            losses = adapter(bone).losses(batch, injection).total
            found.append([losses.detach(), *torch.autograd.grad(losses.sum(), wanted)])
    for padded, packed in zip(*found, strict=True):
        assert (packed - padded).abs().max() <= 3e-5 * padded.abs().max()
        assert packed.abs().max() > 1e-4


def test_which_sequences_share_a_call():
    assert runs([5, 5, 5], [5, 5, 5], 1000, 0) == [(0, 3)]  # equal lengths: no padding, so no cost
    assert runs([5, 6, 40], [5, 6, 40], 1000, 0) == [(0, 1), (1, 2), (2, 3)]
    assert runs([5, 6, 40], [5, 6, 40], 1000, 11 * 1000) == [(0, 2), (2, 3)]  # 36 - 25 = 11 more pairs
    assert runs([5, 6, 40], [5, 6, 40], 1000, 11 * 1000 - 1) == [(0, 1), (1, 2), (2, 3)]
    assert runs([5, 6, 40], [5, 6, 40], 1, 1e9) == [(0, 3)]
    assert runs([2, 9], [30, 30], 10, 7 * 30 * 10) == [(0, 2)]
    assert runs([4], [4], 1, 0) == [(0, 1)]


@pytest.mark.parametrize("call", [0.0, 300.0, 1e9])
@pytest.mark.parametrize("name", ["t5", "gpt2", "bert"])
def test_the_number_of_calls_changes_nothing(name, call, monkeypatch):
    """Each sequence by itself, some together, all in one."""
    bone = backbone(name)
    monkeypatch.setattr("repro.models.packed_batch.CALL", call)
    injection = prompts(bone.spec, 3, OWN)["kv"]
    calls = []
    monkeypatch.setattr("repro.models.attention.packing.runs", lambda *given: calls.append(runs(*given)) or calls[-1])
    both(
        bone, lambda: adapter(bone).losses(make_batch(bone, LENGTHS, rows=ROWS), injection).total, trained_of(injection)
    )
    wanted = {0.0: 6, 300.0: None, 1e9: 1}[call]  # two sequences of 7
    if wanted is not None and name != "gpt2":  # whose targets make all lengths unlike
        assert len(calls[0]) == wanted


def test_every_prompts_dropout_is_drawn_where_sequences_are_packed():
    bone = backbone("bert")
    injection = replace(prompts(bone.spec, 3, OWN)["kv"], kv_dropout=0.5)
    batch = make_batch(bone, LENGTHS, rows=ROWS)
    drawn = []
    with packing(bone, True):
        for step in range(2):  # other keys of every row, other losses of every row
            bone.dropout.fill(torch.arange(len(ROWS)) + 100 * step)
            drawn.append(adapter(bone).losses(batch, injection).total)
    assert ((drawn[0] - drawn[1]).abs() > 1e-9).all()
