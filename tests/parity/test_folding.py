"""A stored prompt gives the losses and outputs of the trained one to the last bit, its MLP folded away."""

import pytest
import torch

from repro.methods.base import PLACEMENTS
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method
from tests.parity.tiny_models import ENCODERS, FAMILIES, adapter, backbone, build_double, generated_ids, make_batch

pytestmark = pytest.mark.parity
P, LENGTHS, ROWS = 4, (9, 3, 6, 5), [0, 1, 1, 0]
METHODS = {
    "prefix_tuning-mlp": lambda: build_method("prefix_tuning", length=P, hidden=8),
    "p_tuning_v2-embedding": lambda: build_method("p_tuning_v2", length=P),
    "p_tuning_v2-mlp": lambda: build_method("p_tuning_v2", length=P, reparameterisation="mlp", hidden=8),
} | {
    f"prompt_tuning-{place}": lambda place=place: PromptTuning(P, "sampled_vocabulary", placement=place)
    for place in PLACEMENTS
}


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_restored_equals_trained(name, make):
    bone = backbone(name)
    adapted, trained, other = adapter(bone), build_double(make(), bone, trials=2), build_double(make(), bone, trials=2)
    with torch.no_grad():  # some training
        for tensor in trained.parameters.values():
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2), dtype=tensor.dtype))
    batch = make_batch(bone, LENGTHS, rows=ROWS)
    before = adapted.losses(batch, other.injection(training=False)).total
    other.restore(trained.export())
    trained_now, other_now = trained.injection(training=False), other.injection(training=False)
    losses = adapted.losses(batch, other_now).total
    assert torch.equal(losses, adapted.losses(batch, trained_now).total)
    assert not torch.allclose(losses, before)
    if name not in ENCODERS:
        sources = make_batch(bone, LENGTHS, training=False, rows=ROWS)
        assert generated_ids(adapted, sources, other_now) == generated_ids(adapted, sources, trained_now)
