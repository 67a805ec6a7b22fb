"""Real tokens start at position P where the switch is on, as `past_key_values` made them; elsewhere nothing moves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.methods.base import Injection
from tests.pairwise import pairwise
from tests.parity.tiny_models import (
    ENCODERS,
    FAMILIES,
    adapter,
    backbone,
    generated_ids,
    make_batch,
    random_embeds,
    random_head,
    random_kv,
)

pytestmark = pytest.mark.parity
P, LENGTHS = 4, (9, 3, 6)
WITH_POSITIONS = tuple(name for name in FAMILIES if name != "t5")
ROWS = {"gpt2": 512, "bert": 512, "roberta": 514, "bart": 514, "llama": 600}


def table_of(name: str, module: Any) -> Tensor:
    """Row i is what position i becomes: a row of the table, or Llama's cosines and sines."""
    if name != "llama":
        assert module.weight.shape[0] == ROWS[name]
        return module.weight
    half = torch.arange(0, 8, 2).float() / 8
    angle = torch.arange(ROWS[name]).float()[:, None] * (10000.0**-half)
    return torch.cat([angle.cos(), angle.cos(), angle.sin(), angle.sin()], 1).double()


def seen(name: str, forward: Callable[[], Any]) -> dict[str, list[Tensor]]:
    """{site: ids [N, T] of each call}, read off the vectors that came out of the position modules."""
    bone, found, hooks = backbone(name), {}, []
    for part in bone.family.positions(bone.model):
        table = table_of(name, part.module)

        def hook(module: Any, args: Any, out: Any, site: str = part.site, table: Tensor = table) -> None:
            vectors = torch.cat(out, -1) if isinstance(out, tuple) else out
            distance = torch.cdist(vectors.flatten(0, -2), table)
            assert distance.min(1).values.max() < 1e-4
            found.setdefault(site, []).append(distance.argmin(1).view(vectors.shape[:-1]))

        hooks.append(part.module.register_forward_hook(hook))
    forward()
    for handle in hooks:
        handle.remove()
    return found


def unshifted(name: str, mask: Tensor) -> Tensor:
    """Ids of real tokens without a prefix, as rows of the table."""
    count = torch.arange(mask.shape[1]).expand_as(mask)
    if name == "roberta":
        return mask.cumsum(1)  # padding index (0 here) + 1, 2, ...
    return count + 2 if name == "bart" else count  # BART's table has two rows in front that nothing uses


@pytest.mark.parametrize("shift", [P, 0], ids=["on", "off"])
@pytest.mark.parametrize("name", WITH_POSITIONS)
def test_training(name, shift):
    bone = backbone(name)
    batch = make_batch(bone, LENGTHS)
    injection = Injection(kv=random_kv(bone.spec, P), position_shift=shift, head=random_head(bone.spec, 3))
    ids = seen(name, lambda: adapter(bone).losses(batch, injection))
    first = "encoder" if name in (*ENCODERS, "bart") else "decoder"
    real = batch.mask.bool()
    assert torch.equal(ids[first][0].expand_as(real)[real], (unshifted(name, batch.mask) + shift)[real])
    if name == "bart":
        assert ids["decoder"][0].tolist() == [[2 + shift + step for step in range(batch.target_ids.shape[1])]]
    assert set(ids) == ({"encoder", "decoder"} if name == "bart" else {first})
    ids = seen(name, lambda: adapter(bone).losses(batch, Injection(head=injection.head)))
    assert torch.equal(ids[first][0].expand_as(real)[real], unshifted(name, batch.mask)[real])


@pytest.mark.parametrize(("name", "shift", "beams"), pairwise(["gpt2", "llama", "bart"], [P, 0], [1, 2]))
def test_generation(name, shift, beams):
    bone = backbone(name)
    batch = make_batch(bone, LENGTHS, training=False)
    injection, steps = Injection(kv=random_kv(bone.spec, P), position_shift=shift), 4
    ids = seen(
        name,
        lambda: generated_ids(adapter(bone), batch, injection, max_new_tokens=steps, min_new_tokens=steps, beams=beams),
    )
    if name == "bart":
        assert ids["encoder"][0].tolist() == [[2 + shift + t for t in range(max(LENGTHS))]] * len(LENGTHS)
        assert [call.tolist() for call in ids["decoder"]] == [[[2 + shift + step]] for step in range(steps)]
        return
    assert len(ids["decoder"]) == steps
    for row, length in enumerate(LENGTHS):  # padded on the left: padding has positions that nobody looks at
        row_ids = [call.expand(len(LENGTHS) * beams, -1)[row * beams] for call in ids["decoder"]]
        assert row_ids[0][-length:].tolist() == [shift + t for t in range(length)]
        assert [step.tolist() for step in row_ids[1:]] == [[shift + length + step] for step in range(steps - 1)]


def test_only_the_sites_of_bart_that_have_a_prefix_shift():
    bone = backbone("bart")
    batch = make_batch(bone, LENGTHS)
    for site, other in (("encoder", "decoder"), ("decoder", "encoder")):
        injection = Injection(kv=random_kv(bone.spec, P, sites=(site,)), position_shift=P)
        ids = seen("bart", lambda injection=injection: adapter(bone).losses(batch, injection))
        assert ids[site][0][0, 0] == 2 + P
        assert ids[other][0][0, 0] == 2


@pytest.mark.parametrize("name", WITH_POSITIONS)
def test_an_input_level_prompt_has_positions_of_its_own(name):
    bone = backbone(name)
    batch = make_batch(bone, LENGTHS)
    injection = Injection(embeds=random_embeds(bone.spec, P), head=random_head(bone.spec, 3))
    ids = seen(name, lambda: adapter(bone).losses(batch, injection))
    first = next(iter(ids.values()))[0][0]
    start = {"roberta": 1, "bart": 2}.get(name, 0)
    assert first.tolist() == list(range(start, start + P + batch.ids.shape[1]))


def test_t5_has_no_positions_to_shift():
    bone = backbone("t5")
    batch, kv = make_batch(bone, LENGTHS), random_kv(bone.spec, P)
    assert bone.family.positions(bone.model) == []
    on, off = (adapter(bone).losses(batch, Injection(kv=kv, position_shift=shift)).total for shift in (P, 0))
    assert torch.equal(on, off)
    assert not torch.equal(on, adapter(bone).losses(batch, Injection()).total)


@pytest.mark.parametrize("name", ["gpt2", "bert", "roberta", "bart"])
def test_a_position_beyond_the_table_raises(name):
    bone = backbone(name)
    batch = make_batch(bone, (9, 9, 9))
    kv, head = random_kv(bone.spec, P), random_head(bone.spec, 3)
    used = int(unshifted(name, batch.mask).max()) + 1
    room = ROWS[name] - used
    assert torch.isfinite(adapter(bone).losses(batch, Injection(kv=kv, position_shift=room, head=head)).total).all()
    with pytest.raises(IndexError):
        adapter(bone).losses(batch, Injection(kv=kv, position_shift=room + 1, head=head))
    adapter(bone).losses(batch, Injection(head=head))  # and the backbone is still in order
