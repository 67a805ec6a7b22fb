"""The MLP is each trial's own Linear-Tanh-Linear, one position is laid out as [2L, H, Dh], folding loses nothing."""

import pytest
import torch
from torch import nn

from repro.methods.base import Context, ModelSpec
from repro.methods.parts.encoded_prompt import PTuning
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.parts.reparameterisation import join_layers, prefix_of, split_layers
from repro.methods.registry import build as build_method

K, P, D, HIDDEN, H, DH = 3, 5, 12, 7, 2, 4
SPEC = ModelSpec("encoder_decoder", D, H, DH, 50, {"encoder": 3, "decoder": 2, "cross": 2})
ENCODER = ModelSpec("encoder", D, H, DH, 50, {"encoder": 3})


def build(method, spec=SPEC, seeds=range(K), outputs=None):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    table = torch.randn(50, D, generator=torch.Generator().manual_seed(0))
    method.build(Context(spec, table, lambda text: [len(text)], ("a", "bb"), outputs, generators))
    method.parameters = {name: t.detach().double().requires_grad_() for name, t in method.parameters.items()}
    return method


@pytest.mark.parametrize("make", ["prefix_tuning", "p_tuning_v2"])
@pytest.mark.parametrize("site", SPEC.sites)
def test_mlp_equals_nn_modules(make, site):
    method = build(build_method(make, length=P, reparameterisation="mlp", hidden=HIDDEN))
    out = SPEC.kv_width(site)
    ours = prefix_of(method.parameters, site)
    assert ours.shape == (K, P, out)
    weights = torch.randn(K, P, out, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    names = ["embedding", "w1", "b1", "w2", "b2"]
    gradients = torch.autograd.grad((ours * weights).sum(), [method.parameters[f"{site}.{name}"] for name in names])
    for trial in range(K):
        values = [method.parameters[f"{site}.{name}"][trial].detach() for name in names]
        net = nn.Sequential(nn.Embedding(P, D), nn.Linear(D, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, out)).double()
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), values, strict=True):
                parameter.copy_(value)
        theirs = net(torch.arange(P))
        torch.testing.assert_close(ours[trial], theirs, rtol=1e-12, atol=1e-12)
        (theirs * weights[trial]).sum().backward()
        for gradient, parameter in zip(gradients, net.parameters(), strict=True):
            torch.testing.assert_close(gradient[trial], parameter.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("site", SPEC.sites)
def test_layout_of_one_position(site):
    """Keys of layer l at index 2l of [2L, H, Dh], values at 2l + 1."""
    layers = SPEC.sites[site]
    flat = torch.randn(K, P, SPEC.kv_width(site))
    kv = split_layers(flat, SPEC, site)
    assert kv.keys.shape == kv.values.shape == (K, layers, H, P, DH)
    assert kv.length == P
    written = flat.view(K, P, 2 * layers, H, DH)
    for layer in range(layers):
        for head in range(H):
            assert torch.equal(kv.keys[:, layer, head], written[:, :, 2 * layer, head])
            assert torch.equal(kv.values[:, layer, head], written[:, :, 2 * layer + 1, head])
    assert torch.equal(join_layers(kv), flat)


def test_sites_have_tensors_of_their_own():
    method = build(build_method("prefix_tuning", length=P, hidden=HIDDEN))
    kv = method.injection(training=True).kv
    assert list(kv) == ["encoder", "decoder", "cross"]
    assert not torch.equal(kv["decoder"].keys, kv["cross"].keys)
    chosen = build(build_method("prefix_tuning", length=P, hidden=HIDDEN, sites=["cross"]))
    assert list(chosen.injection(training=True).kv) == ["cross"]
    assert all(name.startswith("cross.") for name in chosen.parameters)


@pytest.mark.parametrize("shift", [True, False])
def test_position_shift_is_the_length(shift):
    for make in ("prefix_tuning", "p_tuning_v2"):
        method = build(build_method(make, length=P, hidden=HIDDEN, shift_positions=shift))
        assert method.injection(training=True).position_shift == (P if shift else 0)


METHODS = {
    "prefix-mlp": lambda: build_method("prefix_tuning", length=P, hidden=HIDDEN),
    "prefix-none": lambda: build_method("prefix_tuning", length=P, reparameterisation="none"),
    "v2-embedding": lambda: build_method("p_tuning_v2", length=P),
    "v2-mlp": lambda: build_method("p_tuning_v2", length=P, reparameterisation="mlp", hidden=HIDDEN),
    "prompt": lambda: PromptTuning(P, initialisation="sampled_vocabulary", placement="after"),
    "p_tuning": lambda: PTuning(P, "lstm", placement="before"),
}


def same(one, other) -> bool:
    """Bit-equal injections."""
    pairs = [(one.embeds, other.embeds)] + [
        (getattr(one.kv[site], part), getattr(other.kv[site], part)) for site in one.kv for part in ("keys", "values")
    ]
    pairs += [(one.head.weight, other.head.weight), (one.head.bias, other.head.bias)] if one.head else []
    pairs = [(a, b) for a, b in pairs if a is not None or b is not None]
    assert pairs
    facts = ("placement", "kv_dropout", "position_shift")
    return (
        one.kv.keys() == other.kv.keys()
        and all(getattr(one, fact) == getattr(other, fact) for fact in facts)
        and all(torch.equal(a, b) for a, b in pairs)
    )


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(("spec", "outputs"), [(SPEC, None), (ENCODER, 3)], ids=["generates", "head"])
def test_restore_is_the_inverse_of_export(make, spec, outputs):
    trained = build(make(), spec, outputs=outputs)
    exported = trained.export()
    wanted = trained.injection(training=False)
    assert not any(tensor.requires_grad for tensor in exported.values())
    assert all(tensor.shape[0] == K for tensor in exported.values())
    other = build(make(), spec, seeds=range(10, 10 + K), outputs=outputs)
    assert not same(other.injection(training=False), wanted)
    other.restore(exported)
    assert same(other.injection(training=False), wanted)
    assert all(tensor.is_leaf and tensor.requires_grad for tensor in other.parameters.values())
    with torch.no_grad():  # an export does not move with later training
        for tensor in trained.parameters.values():
            tensor.add_(1.0)
    assert all(torch.equal(tensor, exported[name]) for name, tensor in other.export().items())


def test_what_is_stored_has_no_mlp_in_it():
    exported = build(build_method("prefix_tuning", length=P, hidden=HIDDEN), ENCODER, outputs=3).export()
    assert set(exported) == {"encoder.prefix", "head.weight", "head.bias"}
    assert exported["encoder.prefix"].shape == (K, P, 2 * 3 * H * DH)


@pytest.mark.parametrize("placement", ["before", "after_bos", "after"])
def test_prompt_tuning_puts_its_prompt_where_it_was_told(placement):
    method = build(PromptTuning(P, initialisation="uniform", placement=placement))
    injection = method.injection(training=True)
    assert injection.placement == placement
    assert injection.embeds is method.parameters["prompt"]
    assert injection.prompt_length == P
    assert injection.position_shift == 0
    assert injection.kv == {}
