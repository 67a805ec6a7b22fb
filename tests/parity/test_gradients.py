"""Training reaches every number of a prompt and none of the backbone, with and without gradient checkpointing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.parts.keyed_dropout import mixed
from repro.methods.registry import build as build_method
from repro.models.attention.attached import Prefix
from repro.models.attention.keyed_dropout_sites import DropoutKeys
from repro.models.backbone import recompute
from tests.parity.tiny_models import (
    FAMILIES,
    adapter,
    backbone,
    build_double,
    close,
    fresh_backbone,
    leaves,
    make_batch,
    random_embeds,
    random_head,
    random_kv,
)

pytestmark = pytest.mark.parity
P, LENGTHS, ROWS = 4, (9, 3, 6, 5), [0, 1, 1, 0]
METHODS = {
    "prefix_tuning-mlp": lambda: build_method("prefix_tuning", length=P, hidden=8),
    "prefix_tuning-none": lambda: build_method("prefix_tuning", length=P, reparameterisation="none"),
    "p_tuning_v2-embedding": lambda: build_method("p_tuning_v2", length=P),
    "p_tuning_v2-mlp": lambda: build_method("p_tuning_v2", length=P, reparameterisation="mlp", hidden=8),
    "prompt_tuning": lambda: PromptTuning(P, initialisation="sampled_vocabulary"),
}


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_trainable_number_and_no_other(name, make):
    bone = backbone(name)
    method = build_double(make(), bone, trials=2)
    bone.dropout.fill(torch.arange(len(ROWS)))
    losses = adapter(bone).losses(make_batch(bone, LENGTHS, rows=ROWS), method.injection(training=True))
    losses.total.sum().backward()
    for key, tensor in method.parameters.items():
        assert tensor.is_leaf
        assert tensor.shape[0] == 2
        assert torch.isfinite(tensor.grad).all()
        assert (tensor.grad != 0).flatten(1).any(1).all(), key  # each trial's share
        if key.endswith(("prefix", "prompt", "embedding")):
            assert (tensor.grad != 0).any(2).all(), f"a position of {key} is not reached"
        if key.endswith("prefix"):
            layers = bone.spec.sites[key.removesuffix(".prefix")]
            by_layer = tensor.grad.view(2, P, layers, 2, -1)
            assert (by_layer != 0).any(4).all(), "keys or values of a layer are not reached"
    frozen = list(bone.model.parameters())
    assert len(frozen) > 10
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in frozen)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_trials_rows_leave_the_others_gradient_at_zero(name):
    bone = backbone(name)
    method = build_double(build_method("p_tuning_v2", length=P), bone, trials=3)
    losses = adapter(bone).losses(make_batch(bone, (9, 3), rows=[1, 1]), method.injection(training=False))
    losses.total.sum().backward()
    for key, tensor in method.parameters.items():
        assert tensor.grad[1].any(), key
        assert not tensor.grad[[0, 2]].any(), key


def run(bone: Any, injection: Injection, seed: int = 5) -> tuple[Tensor, list[Tensor]]:
    """Losses of every row and gradients of every leaf, dropout drawn after a fixed seed."""
    wanted = [*leaves(injection.kv), *([] if injection.embeds is None else [injection.embeds])]
    bone.dropout.fill(mixed(torch.arange(len(ROWS)), seed))
    losses = adapter(bone).losses(make_batch(bone, LENGTHS, rows=ROWS), injection).total
    return losses.detach(), list(torch.autograd.grad(losses.sum(), wanted))


def injections(spec: Any) -> dict[str, Injection]:
    head = random_head(spec, 3, trials=2)
    kv = random_kv(spec, P, trials=2)
    return {
        "kv": Injection(kv=kv, position_shift=P, head=head),
        "kv with dropout": Injection(kv=kv, kv_dropout=0.4, position_shift=P, head=head),
        "embeds": Injection(embeds=random_embeds(spec, P, trials=2), head=head),
    }


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_checkpointing_changes_nothing(name, packing, monkeypatch):
    usual, thrifty = backbone(name), fresh_backbone(name)
    for bone in (usual, thrifty):
        monkeypatch.setattr(bone, "packing", packing)
    thrifty.model.train()  # transformers checkpoints in train mode only; every dropout is 0
    recompute(thrifty)
    calls = [0]
    module = next(iter(thrifty.attention.values()))[0]
    module.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    seen = {}
    for kind, injection in injections(usual.spec).items():
        calls[0] = 0
        (losses, gradients), (wanted, wanted_gradients) = run(thrifty, injection), run(usual, injection)
        assert calls[0] == 2, "the layer was not computed a second time: checkpointing was off"
        close(losses, wanted, 1e-12)
        for got, gradient in zip(gradients, wanted_gradients, strict=True):
            close(got, gradient, 1e-12)
        seen[kind] = wanted
    assert not torch.allclose(seen["kv"], seen["kv with dropout"], atol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_dropout_on_the_prefix_is_drawn_for_every_row(name):
    bone = backbone(name)
    batch = make_batch(bone, (7, 7))
    for field in (batch.ids, batch.labels, batch.target_ids, batch.token_labels):
        if field is not None:
            field[1] = field[0]
    injection = Injection(kv=random_kv(bone.spec, P), kv_dropout=0.5, head=random_head(bone.spec, 3))

    def losses_of(keys: tuple[int, int]) -> torch.Tensor:
        bone.dropout.fill(torch.tensor(keys))
        return adapter(bone).losses(batch, injection).total

    losses, again, repeated = losses_of((3, 4)), losses_of((5, 6)), losses_of((3, 4))
    assert losses[0] != losses[1]
    assert not torch.equal(losses, again)
    assert torch.equal(losses, repeated)


def test_dropout_keeps_or_scales():
    keys = torch.randn(1, 2, 3, 5, dtype=torch.float64)
    values = torch.randn(1, 2, 3, 5, dtype=torch.float64)
    draws = DropoutKeys()
    draws.fill(torch.arange(200))
    got = Prefix(keys, values, None, 0.25, draws=draws).expanded(200, torch.float64)
    for kept, full in zip(got, (keys, values), strict=True):
        dropped = kept == 0
        torch.testing.assert_close(kept[~dropped], (full / 0.75).expand(200, -1, -1, -1)[~dropped])
        assert 0.22 < dropped.double().mean() < 0.28
    assert not torch.equal(got[0] == 0, got[1] == 0)


@pytest.mark.parametrize("make", ["prefix_tuning", "p_tuning_v2"])
def test_a_method_drops_only_in_training(make):
    method = build_double(build_method(make, length=P, prefix_dropout=0.3), backbone("bert"))
    assert method.injection(training=True).kv_dropout == 0.3
    assert method.injection(training=False).kv_dropout == 0.0
