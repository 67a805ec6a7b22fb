"""Where the papers' code handed the prefix over as `past_key_values`, our injection gives the same numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from repro.methods.base import Injection
from repro.models.encoding.batch import Batch
from tests.parity.tiny_models import (
    DECODERS,
    ENCODERS,
    adapter,
    backbone,
    close,
    leaves,
    make_batch,
    plain,
    random_head,
    random_kv,
)

pytestmark = pytest.mark.parity
P = 4


def through_a_cache(model: Any, batch: Batch, kv: Any, position_ids: Tensor | None) -> Tensor:
    """Last hidden states with the prefix in a fresh cache (a forward pass appends to it) and a mask for it."""
    cache, count = DynamicCache(), len(batch.ids)
    for layer in range(kv.keys.shape[1]):
        cache.update(kv.keys[0, layer].expand(count, -1, -1, -1), kv.values[0, layer].expand(count, -1, -1, -1), layer)
    mask = torch.cat([batch.mask.new_ones(count, P), batch.mask], 1)
    inputs = {"token_type_ids": batch.token_types} if batch.token_types is not None else {}
    inputs |= {"position_ids": position_ids} if position_ids is not None else {}
    out = model.base_model(batch.ids, attention_mask=mask, past_key_values=cache, **inputs)
    assert out.last_hidden_state.shape[1] == batch.ids.shape[1]
    return out.last_hidden_state


def own_positions(name: str, batch: Batch) -> Tensor:
    """The ids that the family gives its tokens when nothing stands in front of them."""
    if name == "roberta":  # counted from the padding index (0 here) + 1, padding itself keeps the index
        return batch.mask.cumsum(1) * batch.mask
    return torch.arange(batch.ids.shape[1]).expand(len(batch.ids), -1)


@pytest.mark.parametrize("shifted", [True, False], ids=["shifted", "unshifted"])
@pytest.mark.parametrize("name", DECODERS + ENCODERS)
def test_hidden_states_and_gradients(name, shifted):
    bone, model = backbone(name), plain(name)
    batch, site = make_batch(bone, (9, 3, 6)), "decoder" if name in DECODERS else "encoder"
    kv = random_kv(bone.spec, P)
    bone.inject(Injection(kv=kv, position_shift=P if shifted else 0), None)
    inputs = {"token_type_ids": batch.token_types} if batch.token_types is not None else {}
    ours = bone.model.base_model(batch.ids, attention_mask=batch.mask, **inputs).last_hidden_state
    theirs = through_a_cache(model, batch, kv[site], None if shifted else own_positions(name, batch))
    real = batch.mask.bool()  # RoBERTa's cache path leaves padding at the padding index, where nobody looks
    close(ours[real], theirs[real])
    weights = torch.randn(ours[real].shape, generator=torch.Generator().manual_seed(0), dtype=ours.dtype)
    got = torch.autograd.grad((ours[real] * weights).sum(), leaves(kv))
    wanted = torch.autograd.grad((theirs[real] * weights).sum(), leaves(kv))
    for a, b in zip(got, wanted, strict=True):
        close(a, b)


@pytest.mark.parametrize("name", DECODERS + ENCODERS)
def test_the_switch_matters(name):
    bone = backbone(name)
    batch, kv, head = make_batch(bone, (9, 3, 6)), random_kv(bone.spec, P), random_head(bone.spec, 3)
    on, off = (adapter(bone).losses(batch, Injection(kv=kv, position_shift=shift, head=head)).total for shift in (P, 0))
    assert ((on - off).abs() > 1e-6).all()


@pytest.mark.parametrize("name", DECODERS)
def test_generation_through_a_cache(name):
    bone, model = backbone(name), plain(name)
    kv, ids = random_kv(bone.spec, P), make_batch(bone, (9, 9), training=False).ids
    mask = torch.ones_like(ids)
    bone.inject(Injection(kv=kv, position_shift=P), None)
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    ours = bone.model.generate(ids, attention_mask=mask, **settings)[:, ids.shape[1] :]
    rows, generated = ids, []
    for _ in range(6):  # greedy by hand: a fresh cache with the prefix alone before every step
        cache = DynamicCache()
        for layer in range(bone.spec.sites["decoder"]):
            cache.update(*(t[0, layer].expand(2, -1, -1, -1) for t in leaves(kv)), layer)
        full = torch.ones(2, P + rows.shape[1], dtype=torch.long)
        best = model(rows, attention_mask=full, past_key_values=cache).logits[:, -1].argmax(-1, keepdim=True)
        rows, generated = torch.cat([rows, best], 1), [*generated, best]
    assert ours.tolist() == torch.cat(generated, 1).tolist()
    assert len(ours.unique()) > 3
