"""P-tuning's encoders, the deep MLP, layer subsets and the official "PT" on encoders, each written out or by torch."""

from typing import Any

import pytest
import torch
from torch import nn

from repro.methods.base import Injection
from repro.methods.parts.encoded_prompt import PTuning, bi_lstm
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.parts.keyed_dropout import dropped, mixed, site_number
from repro.methods.parts.reparameterisation import layer_indices
from repro.methods.registry import build as build_method
from repro.models.attention.attached import attached
from tests.parity.tiny_models import (
    ENCODERS,
    FAMILIES,
    adapter,
    backbone,
    build_double,
    close,
    make_batch,
    plain,
    random_embeds,
)

pytestmark = pytest.mark.parity
P = 4


@pytest.mark.parametrize("hidden", [None, 6])
def test_the_lstm_is_torchs(hidden: int | None) -> None:
    """Two trials through their own weights equal `nn.LSTM(bidirectional, two layers)`, forward and gradient."""
    bone = backbone("bert")
    method = build_double(PTuning(P, "lstm", hidden, placement="before"), bone, trials=2)
    tensors, units = method.parameters, hidden or bone.spec.width
    ours = bi_lstm(tensors["encoder.embedding"], tensors)
    for trial in (0, 1):
        lstm = nn.LSTM(bone.spec.width, units, 2, bidirectional=True, batch_first=True).double()
        names = {"wi": "weight_ih", "wh": "weight_hh", "bi": "bias_ih", "bh": "bias_hh"}
        with torch.no_grad():
            for layer in (0, 1):
                for direction, mark in (("forward", ""), ("backward", "_reverse")):
                    for part, theirs in names.items():
                        target = getattr(lstm, f"{theirs}_l{layer}{mark}")
                        target.copy_(tensors[f"lstm.{layer}.{direction}.{part}"][trial])
        given = tensors["encoder.embedding"][trial : trial + 1].detach().requires_grad_()
        wanted, _ = lstm(given)
        close(ours[trial], wanted[0])
        got = torch.autograd.grad(ours[trial].square().sum(), tensors["encoder.embedding"], retain_graph=True)[0]
        close(got[trial], torch.autograd.grad(wanted.square().sum(), given)[0][0])
        assert not got[1 - trial].any(), "a trial's prompt depends on another's"


def test_dropout_between_the_lstms_layers() -> None:
    """One `nn.LSTM` a layer with the mask between them that the trial's key gives; none while evaluating."""
    bone = backbone("bert")
    method = build_double(PTuning(P, "lstm", 6, lstm_dropout=0.5, placement="before"), bone)
    tensors, states = method.parameters, method.parameters["encoder.embedding"]
    key = torch.tensor([3])
    ours = bi_lstm(states, tensors, dropout=0.5, keys=key)
    for layer in (0, 1):
        if layer:
            places = mixed(mixed(key, site_number("p_tuning.lstm") + 1)[:, None], torch.arange(states.shape[1]))
            kept = ~dropped(places, states.shape[2], 0.5)
            assert 0.3 < kept.double().mean() < 0.7
            states = states * kept / 0.5
        lstm = nn.LSTM(states.shape[2], 6, bidirectional=True, batch_first=True).double()
        names = {"weight_ih_l0": "wi", "weight_hh_l0": "wh", "bias_ih_l0": "bi", "bias_hh_l0": "bh"}
        ways = (("", "forward"), ("_reverse", "backward"))
        weights = {f"{n}{mark}": tensors[f"lstm.{layer}.{way}.{p}"][0] for n, p in names.items() for mark, way in ways}
        states = torch.func.functional_call(lstm, weights, (states,))[0]
    close(ours, states)
    drawn = [method.injection(True, torch.tensor([key])).embeds for key in (1, 2)]
    assert not torch.allclose(*drawn)
    close(
        method.injection(False).embeds,
        build_double(PTuning(P, "lstm", 6, placement="before"), bone).injection(True).embeds,
    )


@pytest.mark.parametrize("encoder", ["lstm", "mlp", "embedding"])
def test_p_tunings_prompt_and_its_export(encoder: str) -> None:
    """[LSTM ->] Linear - ReLU - Linear over the embeddings; folded away on export; counted."""
    bone = backbone("bert")
    method = build_double(PTuning(P, encoder, placement="before"), bone)
    t, width = method.parameters, bone.spec.width
    if encoder == "embedding":
        wanted = t["prompt"][0]
    else:
        states = bi_lstm(t["encoder.embedding"], t)[0] if encoder == "lstm" else t["encoder.embedding"][0]
        inner = (states @ t["encoder.w1"][0].T + t["encoder.b1"][0]).clamp(min=0)
        wanted = inner @ t["encoder.w2"][0].T + t["encoder.b2"][0]
    injection = method.injection(True)
    close(injection.embeds[0], wanted)
    fresh = build_double(PTuning(P, encoder, placement="before"), bone)
    fresh.restore(method.export())
    close(fresh.injection(False).embeds, injection.embeds)
    counts = method.parameter_counts()
    assert counts["prompt"] == P * width and counts["stored"] == P * width + counts["head"]


def test_prompts_in_a_template_stand_in_their_places() -> None:
    """[a, P0, b, P1, P2]: the same as embeddings put together by hand."""
    from repro.models.encoding.batch import Encoded, collate

    bone, prompt = backbone("bert"), random_embeds(backbone("bert").spec, 3)
    ids, slots = (9, 0, 30, 31, 0, 0, 8), (-1, 0, -1, -1, 1, 2, -1)
    batch = collate([Encoded(ids, 7, label=0, slots=slots, token_types=(0,) * 7)], 0)
    ours = adapter(bone).hidden(batch, Injection(prompt, placement="template"))
    table = plain("bert").get_input_embeddings()(torch.tensor([ids]))[0]
    rows = [prompt[0, slot] if slot >= 0 else table[place] for place, slot in enumerate(slots)]
    theirs = plain("bert")(inputs_embeds=torch.stack(rows)[None]).last_hidden_state
    close(ours, theirs)
    got, wanted = (torch.autograd.grad(out.square().sum(), prompt)[0] for out in (ours, theirs))
    close(got, wanted)


@pytest.mark.parametrize(("reparameterisation", "layers"), [("mlp", 2), ("deep", 3)])
def test_prefixes_through_linear_layers_and_tanh(reparameterisation: str, layers: int) -> None:
    """Linear - tanh - Linear, and one more of each with `deep`, by torch's modules."""
    bone = backbone("gpt2")
    method = build_double(
        build_method("prefix_tuning", length=P, reparameterisation=reparameterisation, hidden=7), bone, trials=2
    )
    t = method.parameters
    assert sum(name.startswith("decoder.w") for name in t) == layers
    for trial in (0, 1):
        parts: list[nn.Module] = []
        for number in range(1, layers + 1):
            weight, bias = t[f"decoder.w{number}"][trial], t[f"decoder.b{number}"][trial]
            linear = nn.Linear(weight.shape[1], weight.shape[0]).double()
            linear.weight.data, linear.bias.data = weight.detach(), bias.detach()
            parts += [linear, nn.Tanh()]
        flat = nn.Sequential(*parts[:-1])(t["decoder.embedding"][trial].detach())
        spec = bone.spec
        wanted = flat.view(P, spec.sites["decoder"], 2, spec.heads, spec.head_dim).permute(2, 1, 3, 0, 4)
        found = method.injection(True).kv["decoder"]
        close(found.keys[trial], wanted[0])
        close(found.values[trial], wanted[1])


@pytest.mark.parametrize(("layers", "wanted"), [("all", (0, 1, 2, 3)), ("first:3", (0, 1, 2)), ("last:1", (3,))])
def test_layer_names(layers: str, wanted: tuple[int, ...]) -> None:
    assert layer_indices(layers, 4) == wanted


@pytest.mark.parametrize("which", ["first:1", "last:1"])
@pytest.mark.parametrize("name", FAMILIES)
def test_layers_without_a_prefix_are_as_if_they_had_none(name: str, which: str) -> None:
    """A prefix in one of two layers: the other layer attends to the text alone, and all of the loss moves."""
    bone = backbone(name)
    method = build_double(
        build_method("p_tuning_v2", length=P, layers=which, prefix_dropout=0.0, shift_positions=False), bone
    )
    injection = method.injection(True)
    kept = 0 if which == "first:1" else 1
    assert {kv.layers for kv in injection.kv.values()} == {(kept,)}
    batch = make_batch(bone, (9, 3, 6))
    ours = adapter(bone).losses(batch, injection).total
    bare = adapter(bone).losses(batch, Injection(head=injection.head)).total
    assert (ours - bare).abs().min() > 1e-9
    bone.inject(injection, None)
    slots = {s: [attached(m) for m in modules] for s, modules in bone.attention.items()}
    assert all(found[1 - kept] is None and found[kept] is not None for found in slots.values())
    counted = sum(P * 2 * bone.spec.heads * bone.spec.head_dim for _ in bone.spec.sites)
    assert method.parameter_counts()["prompt"] == counted


@pytest.mark.parametrize("pooled_at_prompt", [False, True])
@pytest.mark.parametrize("name", ENCODERS)
def test_the_official_pt_embeds_twice(name: str, pooled_at_prompt: bool) -> None:
    """[prompt; embeddings(x)] as `inputs_embeds`: x gets positions, types and the norm again inside the model."""
    bone, model = backbone(name), plain(name)
    method = PromptTuning(P, "uniform", embedded_twice=True, pooled_at_prompt=pooled_at_prompt)
    build_double(method, bone)
    batch = make_batch(bone, (8, 5))
    injection = method.injection(True)
    ours = adapter(bone).losses(batch, injection).total
    types = {} if batch.token_types is None else {"token_type_ids": batch.token_types}
    once = model.embeddings(input_ids=batch.ids, **types)
    prompt = injection.embeds.expand(2, -1, -1)
    mask = torch.cat([torch.ones(2, P, dtype=torch.long), batch.mask], 1)
    given: dict[str, Any] = {"inputs_embeds": torch.cat([prompt, once], 1), "attention_mask": mask}
    if types:
        given["token_type_ids"] = torch.cat([torch.zeros(2, P, dtype=torch.long), batch.token_types], 1)
    states = model(**given).last_hidden_state
    first = states[:, 0] if pooled_at_prompt else states[:, P]
    pooled = model.pooler(first[:, None])
    logits = pooled @ injection.head.weight[0].T + injection.head.bias[0]
    theirs = nn.functional.cross_entropy(logits, batch.labels, reduction="none")
    close(ours, theirs)
    leaves = list(method.parameters.values())
    got, wanted = (torch.autograd.grad(each.sum(), leaves) for each in (ours, theirs))
    for a, b in zip(got, wanted, strict=True):
        close(a, b)
