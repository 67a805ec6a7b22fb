"""The parts of packed reading: layout, the choice, memory-saving layers, absorbed keys, a trimmed last layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import activations
from transformers.models.llama import modeling_llama
from transformers.models.t5 import modeling_t5

from repro.methods.base import Adapter, Head, Injection, KeyValue
from repro.models.attention import cpu_bfloat16
from repro.models.attention.fused_ops import install
from repro.models.attention.packing import Packed, by_length, spread, take
from repro.models.backbone import Backbone
from repro.models.encoding.batch import IGNORE, Encoded, collate
from repro.models.packed_batch import packs
from tests.models.loaded import adapt, tiny


def rows(lengths: tuple[int, ...], total: int) -> Tensor:
    return (torch.arange(total) < torch.tensor(lengths)[:, None]).long()


# Layout ---------------------------------------------------------------------------------------------------------------


def test_tokens_lie_sequence_behind_sequence_the_shortest_first():
    mask = rows((3, 1, 2), 4)
    order = by_length(mask)
    packed = Packed(mask, order)
    assert order.tolist() == [1, 2, 0]
    assert packed.lengths == (1, 2, 3)
    assert packed.rows.tolist() == [1, 2, 2, 0, 0, 0]
    assert packed.positions.tolist() == [0, 0, 1, 0, 1, 2]
    numbers = torch.arange(12.0).view(3, 4)
    assert packed.pack(numbers).tolist() == [[4, 8, 9, 0, 1, 2]]
    assert packed.unpack(packed.pack(numbers)).tolist() == (numbers * mask).tolist()


def test_positions_count_real_tokens_where_padding_is_on_the_left():
    mask = rows((3, 1), 4).flip(1)
    packed = Packed(mask, by_length(mask))
    assert packed.positions.tolist() == [0, 0, 1, 2]
    assert packed.pack(torch.arange(8).view(2, 4)).tolist() == [[7, 1, 2, 3]]


def test_the_second_length_breaks_ties_of_the_first():
    assert by_length(rows((2, 2, 1), 3), rows((3, 1, 2), 3)).tolist() == [2, 1, 0]


def test_spread_and_take_are_each_others_inverse_and_gradient():
    places = torch.tensor([4, 0, 3])
    values = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    padded = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.equal(take(spread(values, places, 6), places), values)
    assert torch.autograd.gradcheck(lambda x: spread(x, places, 6), values)
    assert torch.autograd.gradcheck(lambda x: take(x, places), padded)


# The choice -----------------------------------------------------------------------------------------------------------


def text_batch(lengths: tuple[int, ...], left: bool = False) -> Any:
    made = [Encoded(tuple(range(6, 6 + n)), n - 1, token_labels=(IGNORE,) * (n - 1) + (7,)) for n in lengths]
    return collate(made, 0, left=left)


def one_kv(bone: Backbone) -> KeyValue:
    shape = (1, bone.spec.sites["decoder"], bone.spec.heads, 2, bone.spec.head_dim)
    return KeyValue(torch.randn(shape), torch.randn(shape))


def test_what_cannot_be_packed_is_not():
    bone = tiny("gpt2")
    batch = text_batch((3, 9))
    masks = {"decoder": batch.mask}
    narrow = Adapter(*(torch.zeros(2, 2, 4) for _ in range(6)))
    bone.packing = True
    assert packs(bone, batch, Injection(), masks)
    assert not packs(bone, text_batch((3, 9), left=True), Injection(), masks)
    assert not packs(bone, batch, Injection(infix=one_kv(bone)), masks)
    assert not packs(bone, batch, Injection(adapters={"decoder": narrow}), masks)
    assert packs(
        bone, batch, Injection(adapters={"decoder": Adapter(*(torch.zeros(1, 2, 4) for _ in range(6)))}), masks
    )
    bone.model.config.sliding_window = 8
    assert not packs(bone, batch, Injection(), masks)
    bone.model.config.sliding_window = 9
    assert packs(bone, batch, Injection(), masks)
    assert not packs(bone, batch, Injection(), {"decoder": torch.zeros_like(batch.mask)})
    bone.packing = False
    assert not packs(bone, batch, Injection(), masks)


@pytest.mark.parametrize("name", ["deberta", "deberta-v2", "glm"])
def test_families_with_attention_of_their_own_stay_padded(name):
    bone = tiny(name, packing=True, format="pair")
    assert bone.packing is True
    batch = collate([Encoded(tuple(range(6, 6 + n)), n, label=0) for n in (3, 7)], 0)
    assert not packs(bone, batch, Injection(), {"encoder": batch.mask})
    head = Head(torch.randn(1, 2, 32, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64))
    assert torch.isfinite(adapt(bone, "pair", {"max_input_length": 9, "max_target_length": 9}).losses(
        batch, Injection(head=head)
    ).total).all()  # fmt: skip


def test_auto_packs_what_is_padded_and_large(monkeypatch):
    bone = tiny("gpt2")
    short, long = {"decoder": rows((5, 5, 5, 40), 40)}, {"decoder": rows((40, 40, 40, 40), 40)}
    assert bone.packing == "auto"
    batch = text_batch((3, 9))
    assert not packs(bone, batch, Injection(), short)  # the model is tiny
    bone.__dict__["weights"] = {"decoder": 10_000_000}
    assert packs(bone, batch, Injection(), short)
    bone.__dict__["weights"] = {"decoder": 100_000}
    assert not packs(bone, batch, Injection(), long)  # no padding: nothing to win


# Memory-saving layers -----------------------------------------------------------------------------------------------


def norms() -> list[Any]:
    return [modeling_t5.T5LayerNorm(16), modeling_llama.LlamaRMSNorm(16)]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_lean_norm_is_the_librarys(index, dtype):
    plain, saving = norms()[index].to(dtype), torch.nn.Sequential(norms()[index].to(dtype))
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(0.5, 2, 16))
        saving[0].weight.copy_(plain.weight)
    mode = install(saving)
    saving.requires_grad_(False)
    states = torch.randn(3, 5, 16, dtype=dtype) * 4
    assert type(saving[0]) is not type(plain)
    assert torch.equal(saving(states), plain(states))  # padded: the library's own, bit for bit
    mode.here.packed = True
    tolerance = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float64: 1e-6}[dtype]  # the library's is float32
    torch.testing.assert_close(saving(states), plain(states), rtol=tolerance, atol=tolerance)
    one, other = (states.clone().requires_grad_() for _ in range(2))
    weights = torch.randn_like(states)
    (saving(one) * weights).sum().backward()
    (plain(other) * weights).sum().backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=5 * tolerance, atol=5 * tolerance)


def test_the_gradient_of_a_lean_norm():
    saving = torch.nn.Sequential(modeling_t5.T5LayerNorm(6).double())
    with torch.no_grad():
        saving[0].weight.copy_(torch.linspace(0.5, 2, 6))
    saving.requires_grad_(False)
    install(saving).here.packed = True
    states = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(saving, states)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        saving(states)
    assert sum(t.numel() == states.numel() for t in kept) == 1  # one copy, not the library's two or three


def test_a_trained_gain_gets_its_gradient():
    saving = torch.nn.Sequential(modeling_t5.T5LayerNorm(6))
    install(saving).here.packed = True
    saving(torch.randn(4, 6)).sum().backward()
    assert saving[0].weight.grad.abs().max() > 0


def test_the_lean_gelu_is_gpt2s():
    saving = torch.nn.Sequential(activations.NewGELUActivation())
    mode = install(saving)
    states = torch.randn(1000) * 4
    plain = activations.NewGELUActivation()(states)
    assert torch.equal(saving(states), plain)
    mode.here.packed = True
    torch.testing.assert_close(saving(states), plain, rtol=1e-5, atol=1e-6)


# bfloat16 on a CPU ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_bfloat16_attention_is_float32s_rounded(causal, masked, kv_heads):
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, heads, length, 8) for heads, length in ((4, 6), (kv_heads, 6), (kv_heads, 6))]
    narrow = [torch.randn(shape, generator=generator).bfloat16().requires_grad_() for shape in shapes]
    wide = [tensor.detach().float().requires_grad_() for tensor in narrow]
    mask = torch.randn(3, 1, 6, 6, generator=generator) if masked and not causal else None
    out = cpu_bfloat16.attention(*narrow, mask, causal, 0.3)
    keys, values = (tensor.repeat_interleave(4 // kv_heads, 1) for tensor in wide[1:])
    wanted = torch.nn.functional.scaled_dot_product_attention(wide[0], keys, values, mask, is_causal=causal, scale=0.3)
    assert out.shape == (3, 6, 4, 8)
    assert torch.equal(out, wanted.bfloat16().transpose(1, 2))
    weights = torch.randn(out.shape, generator=generator)
    (out * weights.bfloat16()).sum().backward()
    (wanted.transpose(1, 2) * weights.bfloat16()).sum().backward()
    for got, exact in zip(narrow, wide, strict=True):
        torch.testing.assert_close(got.grad.float(), exact.grad, rtol=2e-2, atol=2e-2)
        assert got.grad.dtype == torch.bfloat16


def test_bfloat16_attention_keeps_bfloat16():
    query = torch.randn(2, 4, 6, 8).bfloat16().requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        cpu_bfloat16.attention(query, query.detach(), query.detach(), None, False, None)
    assert {t.dtype for t in kept if t.numel() == query.numel()} == {torch.bfloat16}
    assert cpu_bfloat16.applies(query, 0.0)
    assert not cpu_bfloat16.applies(query, 0.1)
    assert not cpu_bfloat16.applies(query.float(), 0.0)


@pytest.mark.parametrize("name", ["t5", "bart", "gpt2", "llama"])
def test_packed_bfloat16_is_near_float32(name):
    """Of one prompt, through the whole model; the padded bfloat16 model is about as far away."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        bone = tiny(name, dtype=dtype)
        prompt = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
        targets = {"target_ids": (8, 9, 1)} if bone.spec.kind == "encoder_decoder" else {}
        made = []
        for n in (5, 9, 14):
            labels = {} if targets else {"token_labels": (IGNORE,) * (n - 3) + (8, 9, 1)}
            made.append(Encoded(tuple(range(6, 6 + n)), n if targets else n - 3, **targets, **labels))
        for packing in (True, False):
            bone.packing = packing
            adapted = adapt(bone, "text_to_text", {"max_input_length": 64, "max_target_length": 64})
            losses = adapted.losses(collate(made, 0), Injection(prompt)).total
            found[dtype, packing] = [losses.detach(), *torch.autograd.grad(losses.sum(), prompt)]
    for exact, packed, padded in zip(
        found["float32", True], found["bfloat16", True], found["bfloat16", False], strict=True
    ):
        away = [(one - exact).abs().max() / exact.abs().max() for one in (packed, padded)]
        assert away[0] < 0.03
        assert away[0] < 3 * away[1] + 1e-3


def test_a_table_of_relative_positions_stays_where_it_is():
    """A pass that was recorded as a CUDA graph goes on reading it there, also when longer sequences have come."""
    bias = tiny("t5").bias["encoder"]
    first = bias(5, torch.float32)
    wanted, place = first.clone(), first.data_ptr()
    longer = bias(100, torch.float32)
    assert bias(5, torch.float32).data_ptr() == place != longer.data_ptr()
    assert torch.equal(bias(5, torch.float32), wanted)
    assert torch.equal(longer[:, :, :5, :5], wanted)


# Absorbed keys and values ---------------------------------------------------------------------------------------------


def calls_of(module: torch.nn.Module) -> list[Any]:
    seen: list[Any] = []
    module.register_forward_hook(lambda part, args, out: seen.append(tuple(out.shape)))
    return seen


@pytest.mark.parametrize(("targets", "absorbed"), [(2, True), (7, True), (8, False), (12, False)])
def test_short_targets_read_the_memory_without_keys(targets, absorbed):
    """Heads of the tiny T5 have 8 numbers: a target of fewer tokens needs less work without keys and values."""
    bone = tiny("t5", packing=True)
    keys = calls_of(bone.attention["cross"][0].k)
    made = [Encoded(tuple(range(6, 6 + n)), n, target_ids=tuple(range(10, 10 + targets))) for n in (5, 9, 14)]
    adapted = adapt(bone, "text_to_text", {"max_input_length": 64, "max_target_length": 64})
    adapted.losses(collate(made, 0), Injection())
    assert (keys == []) == absorbed
    bone.whole.requires_grad_(True)  # tuned projections keep their own form
    adapted.losses(collate(made, 0), Injection())
    assert keys


def test_the_bias_of_the_longest_serves_all_lengths():
    bone = tiny("t5")
    module = bone.attention["encoder"][0]
    long, short = bone.bias["encoder"](40, torch.float64), bone.bias["encoder"](9, torch.float64)
    assert torch.equal(short, module.compute_bias(9, 9))
    assert torch.equal(long, module.compute_bias(40, 40))
    assert torch.equal(bone.bias["decoder"](9, torch.float64), bone.attention["decoder"][0].compute_bias(9, 9))
    with torch.no_grad():
        module.relative_attention_bias.weight.add_(1.0)  # a checkpoint that is loaded later
    assert torch.equal(bone.bias["encoder"](9, torch.float64), module.compute_bias(9, 9))


# The last layer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_a_classifier_computes_the_last_layer_at_its_first_token(name):
    bone = tiny(name, packing=True, format="pair")
    inner = [calls_of(layer.intermediate) for layer in bone.model.encoder.layer]
    keys = [calls_of(layer.attention.self.key) for layer in bone.model.encoder.layer]
    head = Head(torch.randn(1, 2, 32, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64))
    limits = {"max_input_length": 64, "max_target_length": 8}
    made = [Encoded(tuple(range(6, 6 + n)), n, label=0, token_labels=(1,) * n) for n in (3, 7, 5)]
    adapt(bone, "pair", limits).losses(collate(made, 0), Injection(head=head))
    assert [seen[-1][1] for seen in inner] == [15, 3]
    assert [seen[-1][1] for seen in keys] == [15, 15]
    adapt(bone, "tagging", limits).losses(collate(made, 0), Injection(head=head))
    assert [seen[-1][1] for seen in inner] == [15, 15]
