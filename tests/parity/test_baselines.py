"""Adapters, LoRA, IA3, BitFit and FT-top: the formulas written out, which weights move, and the papers' counts."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from repro.errors import ModelError
from repro.methods.base import Adapter, Context, Injection, Tuning
from repro.methods.parts.backbone_weights import FineTuning
from repro.methods.parts.bottleneck import PARTS, AdapterTuning
from repro.methods.registry import build as build_method
from repro.models.backbone import Backbone
from repro.models.families.family import family
from repro.models.tuning import tune
from tests.models.loaded import build, facts, spec_of
from tests.parity.tiny_models import (
    DECODERS,
    ENCODERS,
    FAMILIES,
    adapter,
    backbone,
    build_double,
    close,
    fresh_backbone,
    generated_ids,
    make_batch,
    random_head,
)

pytestmark = pytest.mark.parity


def random_adapters(bone: Backbone, trials: int = 1, inner: int = 3) -> dict[str, Adapter]:
    generator = torch.Generator().manual_seed(5)
    out = {}
    for stack, layers in bone.spec.sites.items():
        if stack == "cross":
            continue
        width = bone.spec.width
        shapes = ((width,), (width,), (inner, width), (inner,), (width, inner), (width,))
        out[stack] = Adapter(
            *(
                torch.randn(trials, layers, *shape, generator=generator, dtype=torch.float64).requires_grad_()
                for shape in shapes
            )
        )
    return out


def of_trial(adapters: dict[str, Adapter], trial: int) -> dict[str, Adapter]:
    return {
        stack: Adapter(*(getattr(one, part)[trial : trial + 1] for part in PARTS)) for stack, one in adapters.items()
    }


class Wrapped(torch.nn.Module):
    """A block with the formula behind it, by torch's own layers."""

    def __init__(self, block: torch.nn.Module, one: Adapter, layer: int):
        super().__init__()
        self.block, self.one, self.layer = block, one, layer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # BART asks a layer for its attention, T5 for `is_decoder`
            return getattr(super().__getattr__("block"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = self.block(*args, **kwargs)
        x = out[0] if isinstance(out, tuple) else out
        own = {part: getattr(self.one, part)[0, self.layer] for part in PARTS}
        inner = F.linear(F.layer_norm(x, x.shape[-1:], own["scale"], own["shift"]), own["down"], own["down_bias"])
        x = x + F.linear(F.relu(inner), own["up"], own["up_bias"])
        return (x, *out[1:]) if isinstance(out, tuple) else x


LISTS = {
    "t5": lambda m: {"encoder": m.encoder.block, "decoder": m.decoder.block},
    "bart": lambda m: {"encoder": m.model.encoder.layers, "decoder": m.model.decoder.layers},
    "gpt2": lambda m: {"decoder": m.transformer.h},
    "llama": lambda m: {"decoder": m.model.layers},
    "bert": lambda m: {"encoder": m.encoder.layer},
    "roberta": lambda m: {"encoder": m.encoder.layer},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_equal_the_formula(name):
    bone, other = backbone(name), fresh_backbone(name)
    adapters, head, batch = random_adapters(bone), random_head(bone.spec, 3), make_batch(bone, (9, 3, 6))
    ours = adapter(bone).losses(batch, Injection(adapters=adapters, head=head)).total
    for stack, blocks in LISTS[name](other.model).items():
        for layer in range(len(blocks)):
            blocks[layer] = Wrapped(blocks[layer], adapters[stack], layer)
    theirs = adapter(other).losses(batch, Injection(head=head)).total
    close(ours, theirs)
    leaves = [getattr(one, part) for one in adapters.values() for part in PARTS]
    got, wanted = torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(theirs.sum(), leaves)
    for a, b in zip(got, wanted, strict=True):
        close(a, b)


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_of_two_trials_equal_each_alone_and_zero_changes_nothing(name):
    bone = backbone(name)
    both, head = random_adapters(bone, trials=2), random_head(bone.spec, 3)
    two = None if head is None else type(head)(head.weight.expand(2, -1, -1), head.bias.expand(2, -1))
    mixed = adapter(bone).losses(make_batch(bone, (9, 3, 6), rows=[0, 1, 0]), Injection(adapters=both, head=two)).total
    batch = make_batch(bone, (9, 3, 6))
    for trial, rows in ((0, [0, 2]), (1, [1])):
        alone = adapter(bone).losses(batch, Injection(adapters=of_trial(both, trial), head=head)).total
        close(mixed[rows], alone[rows])
    still = {
        stack: Adapter(one.scale, one.shift, one.down, one.down_bias, one.up * 0, one.up_bias * 0)
        for stack, one in of_trial(both, 0).items()
    }
    plain = adapter(bone).losses(batch, Injection(head=head)).total
    assert torch.equal(adapter(bone).losses(batch, Injection(adapters=still, head=head)).total, plain)


@pytest.mark.parametrize("name", DECODERS)
def test_adapters_generate_with_beams_row_by_row(name):
    bone = backbone(name)
    both = random_adapters(bone, trials=2)
    batch = make_batch(bone, (6, 6), training=False, rows=[0, 1])
    found = generated_ids(adapter(bone), batch, Injection(adapters=both), beams=3, max_new_tokens=4)
    for trial in (0, 1):
        alone = make_batch(bone, (6, 6), training=False)
        one = Injection(adapters=of_trial(both, trial))
        assert generated_ids(adapter(bone), alone, one, beams=3, max_new_tokens=4)[trial] == found[trial]


# Weights inside the backbone -----------------------------------------------------------------------------------------


def batch_loss(bone: Backbone, method: Any, lengths: tuple[int, ...] = (9, 3, 6)) -> Tensor:
    return adapter(bone).losses(make_batch(bone, lengths), method.injection(True)).total.sum()


QUERY_VALUE = {
    "t5": ("q", "v"),
    "bart": ("q_proj", "v_proj"),
    "gpt2": ("c_attn",),
    "llama": ("q_proj", "v_proj"),
    "bert": ("query", "value"),
    "roberta": ("query", "value"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_lora_equals_a_changed_matrix(name):
    """W + (alpha / rank) B A put into a plain model gives the same loss; gradients reach A and B alone."""
    bone, method = fresh_backbone(name), build_method("lora", rank=2, alpha=6)
    own = tune(bone, method.tuning, seed=3)
    build_double(method, bone)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in own.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    ours = batch_loss(bone, method)
    ours.backward()
    assert {n for n, p in bone.whole.named_parameters() if p.grad is not None} == set(own)
    changed = fresh_backbone(name)
    weights, expected = dict(changed.model.named_parameters()), {}
    found = 0
    for key, a in own.items():
        if ".lora_A." not in key:
            continue
        place = key.partition(".lora_A.")[0]
        assert place.rpartition(".")[2] in QUERY_VALUE[name]
        b = own[key.replace("lora_A", "lora_B")]
        delta = 3.0 * b @ a
        weights[f"{place}.weight"].data += (delta.T if name == "gpt2" else delta).detach()
        expected[place] = weights[f"{place}.weight"].requires_grad_()
        found += 1
    attentions = sum(len(modules) for modules in bone.attention.values())
    assert found == attentions * len(QUERY_VALUE[name])
    theirs = batch_loss(changed, method)
    close(ours, theirs)
    theirs.backward()
    for place, weight in expected.items():  # W + 3 B A: dA = 3 B' dW, dB = 3 dW A'
        grad = weight.grad.T if name == "gpt2" else weight.grad
        a, b = own[f"{place}.lora_A.default.weight"], own[f"{place}.lora_B.default.weight"]
        torch.testing.assert_close(a.grad, 3.0 * b.detach().T @ grad, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(b.grad, 3.0 * grad @ a.detach().T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_lora_with_prefix_is_the_prefix_in_the_changed_model(name):
    bone, method = fresh_backbone(name), build_method("lora_prefix", length=3, hidden=4, rank=2, alpha=2)
    own = tune(bone, method.tuning, seed=3)
    build_double(method, bone)
    assert {key.partition(".")[0] for key in method.parameters} <= {"prefix", "lora"}
    start = batch_loss(bone, method).detach()
    plain = fresh_backbone(name)
    alone = build_double(build_method("prefix_tuning", length=3, hidden=4), plain)
    close(start, batch_loss(plain, alone).detach())  # B starts at zero
    with torch.no_grad():
        for key, parameter in own.items():
            if "lora_B" in key:
                parameter.fill_(0.1)
    moved = batch_loss(bone, method)
    assert not torch.isclose(moved.detach(), start)
    moved.backward()
    for tensor in (*own.values(), *method.parameters.values()):
        assert tensor.grad is not None and tensor.grad.any()


def test_lora_starts_from_its_seed():
    first, again, other = (tune(fresh_backbone("bert"), build_method("lora").tuning, seed) for seed in (1, 1, 2))
    a = next(name for name in first if "lora_A" in name)
    assert torch.equal(first[a], again[a]) and not torch.equal(first[a], other[a])


@pytest.mark.parametrize("name", FAMILIES)
def test_ia3_equals_scaled_rows_and_columns(name):
    """l * (W x + b) for keys and values, W (l * x) in the feed-forward layer, put into a plain model; gradients too."""
    bone, method = fresh_backbone(name), build_method("ia3")
    own = tune(bone, method.tuning, seed=0)
    assert own and all(bool((parameter == 1).all()) for parameter in own.values())  # it starts at the plain model
    assert {n for n, p in bone.whole.named_parameters() if p.requires_grad} == set(own)
    build_double(method, bone)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in own.values():
            parameter.copy_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
    ours = batch_loss(bone, method)
    ours.backward()
    changed, scales = fresh_backbone(name), {}
    modules = dict(changed.model.named_modules())
    for key, parameter in own.items():
        scales[key] = parameter.detach().flatten().clone().requires_grad_()
        module = modules[key.partition(".ia3_l.")[0]]
        if parameter.shape[0] == 1:  # [1, inputs]: of a feed-forward layer
            module.register_forward_pre_hook(lambda _, args, scale=scales[key]: (args[0] * scale,))
        else:
            module.register_forward_hook(lambda _, args, out, scale=scales[key]: out * scale)
    theirs = batch_loss(changed, method)
    close(ours, theirs)
    theirs.backward()
    kinds = {parameter.shape[0] == 1 for parameter in own.values()}
    assert kinds == {True, False}
    for key, parameter in own.items():
        assert parameter.grad.any()
        torch.testing.assert_close(parameter.grad.flatten(), scales[key].grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_bitfit_trains_every_bias_and_nothing_else(name):
    bone = fresh_backbone(name)
    if name in ("t5", "llama"):
        with pytest.raises(ModelError, match="no biases to train"):
            tune(bone, build_method("bitfit").tuning, seed=0)
        return
    own = tune(bone, build_method("bitfit").tuning, seed=0)
    for module_name, module in bone.model.named_modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, torch.nn.Parameter):
            assert own[f"{module_name}.bias"] is bias
    assert all(parameter.dim() == 1 for parameter in own.values())
    assert {n for n, p in bone.model.named_parameters() if p.requires_grad} == set(own)


@pytest.mark.parametrize("name", FAMILIES)
def test_ft_top_is_the_last_block_and_the_final_norm(name):
    bone = fresh_backbone(name)
    own = tune(bone, build_method("ft_top", blocks=1).tuning, seed=0)
    stack = LISTS[name](bone.model)["encoder" if name in ENCODERS else "decoder"]
    last = {id(parameter) for parameter in stack[-1].parameters()}
    assert last <= {id(parameter) for parameter in own.values()}
    rest = [name for name, parameter in own.items() if id(parameter) not in last]
    assert all("norm" in name or "ln_f" in name for name in rest)
    assert len(rest) == {"t5": 1, "bart": 0, "gpt2": 2, "llama": 1, "bert": 0, "roberta": 0}[name]
    assert {n for n, p in bone.model.named_parameters() if p.requires_grad} == set(own)
    with pytest.raises(ModelError, match=r"method\.blocks=9"):
        tune(fresh_backbone(name), Tuning("top", blocks=9), seed=0)


# Counts --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2_medium() -> Backbone:
    with torch.device("meta"):
        model = build(facts("gpt2-medium"), family("gpt2"), torch.float32, {})
    return Backbone(model, None, family("gpt2"), spec_of(facts("gpt2-medium")))


@pytest.mark.parametrize(
    ("method", "numbers"),
    [
        (FineTuning(), 354_823_168),
        (build_method("ft_top", blocks=2), 25_194_496),  # liliang2021 section (a): blocks 22, 23 and ln_f
        (build_method("bitfit"), 24 * (3 * 1024 + 1024 + 4096 + 1024 + 2 * 1024) + 1024),
    ],
)
def test_tuned_weights_of_gpt2_medium(method, numbers, gpt2_medium):
    gpt2_medium.whole.requires_grad_(False)
    own = tune(gpt2_medium, method.tuning, seed=0)
    assert sum(parameter.numel() for parameter in own.values()) == numbers


@pytest.mark.parametrize(("bottleneck", "numbers"), [(6, 368_784), (224, 11_089_152)])
def test_adapters_of_gpt2_medium(bottleneck, numbers, gpt2_medium):
    """liliang2021 section (a): the two rows of 0.1 % and 3 %."""
    method = AdapterTuning(bottleneck)
    with torch.device("meta"):
        table = torch.empty(50257, 1024)
        method.build(Context(gpt2_medium.spec, table, lambda text: [1], (), None, [torch.Generator()]))
    assert method.parameter_counts() == {"trained": numbers, "stored": numbers, "prompt": numbers, "head": 0}
    assert numbers == 24 * (2 * 1024 * bottleneck + bottleneck + 3 * 1024)


@pytest.mark.parametrize("rank", [1, 4])
def test_lora_counts(rank):
    """rank x (inputs + outputs) a matrix: GPT-2's c_attn is [3D, D]."""
    bone = fresh_backbone("gpt2")
    own = tune(bone, build_method("lora", rank=rank).tuning, seed=0)
    layers, width = bone.spec.sites["decoder"], bone.spec.width
    assert sum(parameter.numel() for parameter in own.values()) == layers * rank * (width + 3 * width)
