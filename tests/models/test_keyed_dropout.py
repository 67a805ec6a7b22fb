"""Dropout by coordinates: as often as it says, independent between coordinates, and the same however rows are laid."""

import itertools
import math

import pytest
import torch
from torch import nn

from repro.methods.base import Injection
from repro.methods.parts.keyed_dropout import dropped, keyed_dropout, mixed, site_number
from repro.models.attention.keyed_dropout_sites import DropoutKeys, KeyedDropout, key_dropouts, stack_of
from repro.models.backbone import Backbone
from repro.tasks.base import Pair, TextToText
from repro.training.batching import Share, training_batches
from tests.models.loaded import adapt, tiny

RATES = (0.1, 0.3, 0.5)
N, T, D = 24, 40, 96


def keys_of(rows: int, site: int, positions: int = T) -> torch.Tensor:
    """[rows, positions] of a site."""
    return mixed(mixed(mixed(torch.arange(rows), 7), site)[:, None], torch.arange(positions))


@pytest.mark.parametrize("rate", RATES)
def test_the_share_is_the_rate_everywhere(rate: float) -> None:
    drop = dropped(keys_of(N, 1), D, rate).double()
    spread = math.sqrt(rate * (1 - rate))
    assert abs(float(drop.mean()) - rate) < 4 * spread / math.sqrt(N * T * D)
    for axes in ((1, 2), (0, 2), (0, 1)):  # of each row, each position, each feature
        count = math.prod((N, T, D)[axis] for axis in axes)
        z = (drop.mean(axes) - rate) / (spread / math.sqrt(count))
        assert float(z.abs().max()) < 4.5 and 0.6 < float(z.std()) < 1.4


@pytest.mark.parametrize("rate", RATES)
def test_masks_are_independent_between_coordinates(rate: float) -> None:
    """Correlation of two masks that differ in one coordinate: noise of size 1 / sqrt(places)."""
    masks = {site: dropped(keys_of(N, site), D, rate).double() - rate for site in (1, 2, 3, 400)}
    pairs = [(masks[a], masks[b]) for a, b in itertools.combinations(masks, 2)]
    one = masks[1]
    pairs += [(one[1:], one[:-1]), (one[:, 1:], one[:, :-1]), (one[..., 1:], one[..., :-1])]
    pairs += [(one[:, 8:], one[:, :-8]), (one[..., 32:], one[..., :-32])]
    trials = [dropped(mixed(torch.arange(N) + 1000 * trial, 5), D, rate).double() - rate for trial in range(4)]
    pairs += list(itertools.pairwise(trials))
    for first, second in pairs:
        z = float((first * second).mean()) / (rate * (1 - rate)) * math.sqrt(first.numel())
        assert abs(z) < 4.5


def test_kept_numbers_are_scaled_and_gradients_follow() -> None:
    states = torch.randn(3, T, D, dtype=torch.float64, requires_grad=True)
    keys = keys_of(3, 1)
    got = keyed_dropout(states, 0.25, keys)
    kept = ~dropped(keys, D, 0.25)
    torch.testing.assert_close(got, torch.where(kept, states / 0.75, 0.0))
    (gradient,) = torch.autograd.grad(got.sum(), states)
    torch.testing.assert_close(gradient, kept.double() / 0.75)
    rates = torch.tensor([0.25, 0.0, 0.5], dtype=torch.float64)[:, None, None]
    own = keyed_dropout(states, rates, keys)
    assert torch.equal(own[0], got[0]) and torch.equal(own[1], states[1])
    assert torch.equal(own[2], keyed_dropout(states, 0.5, keys)[2])


def test_packed_rows_draw_what_padded_rows_draw() -> None:
    keys, lengths = DropoutKeys(), (5, 9, 2)
    rows = mixed(torch.arange(3), 1)
    padded = torch.ones(3, 9, D)
    keys.fill(rows)
    expected = keys.states(padded, 0.4, site=11, stack="encoder")
    row = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))
    position = torch.cat([torch.arange(length) for length in lengths])
    keys.pack("encoder", row, position)
    got = keys.states(torch.ones(1, sum(lengths), D), 0.4, site=11, stack="encoder")[0]
    assert torch.equal(got, torch.cat([expected[i, :length] for i, length in enumerate(lengths)]))
    assert torch.equal(keys.states(padded[:, :9], 0.4, site=11, stack="decoder"), expected), "the other stack is padded"


def test_masks_of_whole_sequences_are_those_of_flaxformer() -> None:
    """One mask a row and site over all positions, padded or packed; in attention one for all queries of a head."""
    keys, lengths = DropoutKeys(), (5, 9, 2)
    keys.whole_sequence = True
    keys.fill(mixed(torch.arange(3), 1))
    padded = keys.states(torch.ones(3, 9, D), 0.4, site=11, stack="encoder")
    assert torch.equal(padded, padded[:, :1].expand_as(padded))
    assert len({tuple(row.tolist()) for row in padded[:, 0]}) == 3, "every row has its own"
    other = keys.states(torch.ones(3, 9, D), 0.4, site=12, stack="encoder")
    assert not torch.equal(other, padded), "every site has its own"
    shares = keys.attention(torch.ones(3, 2, 4, 6), 0.4, site=5, prefix=0)
    assert torch.equal(shares, shares[:, :, :1].expand_as(shares))
    assert not torch.equal(shares[:, 0], shares[:, 1]), "every head has its own"
    row = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))
    keys.pack("encoder", row, torch.cat([torch.arange(length) for length in lengths]))
    packed = keys.states(torch.ones(1, sum(lengths), D), 0.4, site=11, stack="encoder")[0]
    assert torch.equal(packed, padded[row, 0])


def test_a_longer_prefix_of_a_neighbour_moves_no_mask() -> None:
    keys = DropoutKeys()
    keys.fill(mixed(torch.arange(2), 1))
    short = keys.attention(torch.ones(2, 3, 4, 2 + 6), 0.4, site=5, prefix=2)
    long = keys.attention(torch.ones(2, 3, 4, 5 + 6), 0.4, site=5, prefix=5)
    assert torch.equal(short[..., 2:], long[..., 5:]) and torch.equal(short[..., :2], long[..., :2])


def test_every_dropout_of_a_model_is_keyed_and_asks_for_keys() -> None:
    keys, model = DropoutKeys(), nn.Sequential(nn.Linear(D, D), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    key_dropouts(model, keys, "encoder")
    key_dropouts(model, keys, "encoder")
    inner = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert [type(module) for module in inner] == [KeyedDropout, KeyedDropout]
    assert inner[0].site != inner[1].site == site_number("2.0")
    states = torch.randn(2, T, D)
    assert torch.equal(inner[0].eval()(states), states)
    with pytest.raises(RuntimeError, match="no keys"):
        inner[0].train()(states)
    assert list(model.state_dict()) == ["0.weight", "0.bias"]


def test_the_stack_of_a_module_is_in_its_name() -> None:
    names = {
        "encoder.block.0.layer.0.dropout": "encoder",
        "decoder.block.0.layer.1.dropout": "decoder",
        "decoder.block.0.layer.1.EncDecAttention.k.lora_dropout.default": "encoder",
        "decoder.block.0.layer.1.EncDecAttention.q.lora_dropout.default": "decoder",
        "decoder.layers.0.encoder_attn": "decoder",
        "decoder.layers.0.encoder_attn.v_proj.lora_dropout.default": "encoder",
    }
    assert {name: stack_of(name, "encoder_decoder") for name in names} == names
    assert stack_of("h.0.attn", "decoder") == "decoder"


MODELS = ("bert", "roberta", "deberta", "deberta-v2", "glm", "gpt2", "llama", "t5", "bart")
ATTENTION_ONLY = ("llama",)


def loaded(model: str, hidden: float, attention: float, base: str = "sdpa") -> Backbone:
    return tiny(model, attention=base, backbone_dropout=hidden, attention_dropout=attention)


def losses(backbone: Backbone, rows: list[int], passes: int = 1, key: int = 3) -> torch.Tensor:
    """Losses of six examples in train mode, in `passes` passes; `rows`: their trials."""
    encoder = backbone.spec.kind == "encoder"
    adapter = adapt(backbone, "pair" if encoder else "text_to_text", {"max_input_length": 40, "max_target_length": 9})
    texts = ["a", "bcdefgh", "ijklmnopqrstuv", "wx", "yzabcde", "fghi"]
    rendered = [Pair(text, text[:2], 0) if encoder else TextToText(text, text[::-1][:5]) for text in texts]
    examples = [adapter.encode(one, True) for one in rendered]
    shares = [Share([e for e, row in zip(examples, rows, strict=True) if row == trial], key + trial)
              for trial in range(max(rows) + 1)]  # fmt: skip
    trials = len(shares)
    generator = torch.Generator().manual_seed(1)
    head = None
    if encoder:
        from repro.methods.base import Head

        weight = torch.randn(1, 2, backbone.spec.width, generator=generator, dtype=torch.float64)
        head = Head(weight.expand(trials, -1, -1), torch.zeros(trials, 2, dtype=torch.float64))
    backbone.model.train()
    found: dict[int, torch.Tensor] = {}
    for batch in training_batches(shares, 0, passes):
        backbone.dropout.fill(batch.draws, shares[0].key if trials == 1 else None)
        for draw, loss in zip(batch.draws.tolist(), adapter.losses(batch, Injection(head=head)).total, strict=True):
            found[draw] = loss.detach()
    backbone.model.eval()
    order = [share.row_key(place, 0) for share in shares for place in range(len(share.examples))]
    return torch.stack([found[draw] for draw in order])


@pytest.mark.parametrize("model", MODELS)
def test_losses_do_not_depend_on_passes_padding_or_other_trials(model: str) -> None:
    """T5's norm computes in float32 whatever the weights are, hence 1e-6."""
    backbone = loaded(model, 0.2, 0.2)
    together = losses(backbone, [0] * 6)
    torch.testing.assert_close(losses(backbone, [0] * 6, passes=4), together, rtol=1e-6, atol=1e-6)
    assert torch.equal(losses(backbone, [0] * 6), together)
    assert not torch.allclose(losses(backbone, [0] * 6, key=4), together, rtol=1e-3)
    plain = loaded(model, 0.0, 0.0)
    assert not torch.allclose(losses(plain, [0] * 6), together, rtol=1e-3)
    for packing in (True, False) if backbone.family.packs else ():
        backbone.packing = packing
        torch.testing.assert_close(losses(backbone, [0] * 6, passes=2), together, rtol=1e-5, atol=1e-5)
    if backbone.family.shared_dropout:
        with pytest.raises(RuntimeError, match="cannot share a pass"):
            losses(backbone, [0, 0, 0, 1, 1, 1])
        return
    both = losses(backbone, [0, 0, 0, 1, 1, 1])
    torch.testing.assert_close(both[:3], together[:3], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("base", ["sdpa", "eager"])
@pytest.mark.parametrize("model", [model for model in MODELS if "deberta" not in model])
def test_attention_with_dropout_is_the_librarys_but_for_the_mask(model: str, base: str) -> None:
    """At a rate so small that nothing is dropped."""
    expected = losses(loaded(model, 0.0, 0.0, base), [0] * 6)
    torch.testing.assert_close(losses(loaded(model, 0.0, 1e-12, base), [0] * 6), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("model", [model for model in MODELS if model not in ATTENTION_ONLY])
def test_both_kinds_of_dropout_are_drawn_and_torchs_generator_is_not(model: str) -> None:
    plain = losses(loaded(model, 0.0, 0.0), [0] * 6)
    for hidden, attention in ((0.2, 0.0), *([(0.0, 0.2)] if model != "t5" else [])):  # T5 has one rate for both
        backbone = loaded(model, hidden, attention)
        torch.manual_seed(1)
        before = torch.get_rng_state()
        found = losses(backbone, [0] * 6)
        assert torch.equal(torch.get_rng_state(), before)
        assert ((found - plain).abs() > 1e-6).all()
