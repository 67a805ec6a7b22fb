"""Without a prompt a backbone is bit-equal to transformers' own model: the mechanism costs nothing."""

import pytest
import torch
from transformers import GenerationConfig

from repro.methods.base import Injection
from repro.models.generation import generation_config
from tests.pairwise import pairwise
from tests.parity.tiny_models import (
    DECODERS,
    ENCODER_DECODERS,
    ENCODERS,
    FAMILIES,
    IMPLEMENTATIONS,
    adapter,
    backbone,
    generated_ids,
    last_hidden,
    make_batch,
    plain,
    random_head,
    random_kv,
)

pytestmark = pytest.mark.parity
LENGTHS = {"padded": (7, 3, 5), "unpadded": (6, 6, 6)}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("attention", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_hidden_states_are_bit_equal(name, attention, lengths):
    ours, theirs = backbone(name, attention), plain(name, attention)
    batch = make_batch(ours, lengths)
    for injection in (Injection(kv=random_kv(ours.spec, 3), position_shift=3), Injection(), Injection(kv_dropout=0.5)):
        ours.inject(injection, None)
        got, wanted = last_hidden(ours.model, batch), last_hidden(theirs, batch)
        assert len(got) == len(wanted) >= 3
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True)) == (not injection.kv)


@pytest.mark.parametrize("name", FAMILIES)
def test_hidden_states_are_bit_equal_in_float32(name):
    ours, theirs = backbone(name, dtype="float32"), plain(name, dtype=torch.float32)
    batch = make_batch(ours, (7, 3, 5))
    ours.inject(Injection(), None)
    got, wanted = last_hidden(ours.model, batch), last_hidden(theirs, batch)
    assert got[-1].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_with_only_a_head_is_pooler_and_linear_layer(name):
    ours, theirs = backbone(name), plain(name)
    batch, head = make_batch(ours, (7, 3, 5)), random_head(ours.spec, 3)
    out = theirs(batch.ids, batch.mask, token_type_ids=batch.token_types)
    wanted = torch.nn.functional.linear(out.pooler_output, head.weight[0], head.bias[0])
    got = adapter(ours).logits(batch, Injection(head=head))
    torch.testing.assert_close(got, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("name", "attention", "beams"), pairwise(DECODERS + ENCODER_DECODERS, IMPLEMENTATIONS, [1, 3]))
def test_generated_ids_are_equal(name, attention, beams):
    ours, theirs = backbone(name, attention), plain(name, attention)
    batch = make_batch(ours, (7, 3, 5), training=False)
    theirs.generation_config = GenerationConfig()
    config = generation_config(theirs, ours.tokenizer, {"beams": beams, "max_new_tokens": 5})
    wanted = theirs.generate(batch.ids, attention_mask=batch.mask, generation_config=config)
    if name in DECODERS:
        wanted = wanted[:, batch.ids.shape[1] :]
    assert wanted.shape[1] >= 5 and len(wanted.unique()) >= 3
    assert generated_ids(adapter(ours), batch, Injection(), beams=beams) == wanted.tolist()
