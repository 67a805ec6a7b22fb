"""Packed sequences give what the padded batch gives: loss and every trained gradient, for every family, site and form."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import (
    ENCODER_DECODERS,
    ENCODERS,
    FAMILIES,
    IMPLEMENTATIONS,
    adapter,
    backbone,
    close,
    leaves,
    make_batch,
    random_embeds,
    random_head,
    random_kv,
)
from torch import Tensor

from repro.methods.base import PLACEMENTS, Injection, KeyValue
from repro.models.base import Backbone
from repro.models.batch import IGNORE, Batch, Encoded, collate

pytestmark = pytest.mark.parity
P, LENGTHS, ROWS = 4, (9, 3, 17, 7, 7, 4, 12), [2, 0, 1, 0, 2, 2, 1]
OWN = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1]]).bool()
"""Which prompt rows are whose, where three trials have unlike lengths."""


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


def prompts(spec: Any, trials: int) -> dict[str, Injection]:
    """Every place a prompt can have; three trials have prompts of unlike lengths."""
    mask = OWN if trials == 3 else None
    shift: Any = P if trials == 1 else torch.tensor([4, 2, 3])
    head = random_head(spec, 3, trials)
    made = {
        place: Injection(random_embeds(spec, P, trials), place, mask, head=head) for place in PLACEMENTS
    } | {"none": Injection(head=head)}
    for site in spec.sites:
        kv = {name: replace(one, mask=mask) for name, one in random_kv(spec, P, trials, (site,)).items()}
        made[f"kv at {site}"] = Injection(kv=kv, position_shift=shift, head=head)
    kv = {name: replace(one, mask=mask) for name, one in random_kv(spec, P, trials).items()}
    return made | {"kv at all": Injection(kv=kv, position_shift=shift, head=head)}


def tensors(injection: Injection) -> list[Tensor]:
    """What is trained."""
    found = leaves(injection.kv)
    found += [injection.embeds] if injection.embeds is not None else []
    return found + ([injection.head.weight, injection.head.bias] if injection.head else [])


PROMPTS = ("none", *PLACEMENTS, "kv at encoder", "kv at decoder", "kv at cross", "kv at all")


@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("attention", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_losses_and_gradients(name, attention, prompt, trials):
    bone = backbone(name, attention)
    injection = prompts(bone.spec, trials).get(prompt)
    if injection is None or (prompt == "none" and not injection.head):
        pytest.skip("the family has no such site, or nothing is trained")
    batch = make_batch(bone, LENGTHS, rows=[0] * len(ROWS) if trials == 1 else ROWS)
    both(bone, lambda: adapter(bone).losses(batch, injection).total, tensors(injection))
