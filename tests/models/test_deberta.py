"""DeBERTa v1 and v2: our attention with a prefix against the library's own with the same words in front."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from repro.methods.base import Injection, KeyValue
from repro.models.attention.attached import Prefix, attach
from repro.models.backbone import Backbone
from repro.models.encoding.batch import Encoded, collate
from tests.models.loaded import CPU, adapt, facts, load_backbone
from tests.parity.tiny_models import close, random_embeds, random_head, random_kv, trial_of

NAMES = ("deberta", "deberta-v2")
TASK = {"max_input_length": 64, "max_target_length": 8, "labels": ["a", "b"]}


def tiny(name: str) -> Backbone:
    bone, deviations = load_backbone(facts(f"tiny-{name}"), {"dtype": "float64", "attention": "sdpa"}, CPU)
    assert len(deviations) == 1 and "no pooler" in deviations[0]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, tensor in sorted(bone.model.named_parameters()):
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
    return bone


def stock_of(bone: Backbone) -> Any:
    """The same weights under the library's own attention."""
    stock: Any = copy.deepcopy(bone.model)
    base = type(bone.attention["encoder"][0]).__mro__[1]
    for layer in stock.encoder.layer:
        layer.attention.self.__class__ = base
    return stock


def batch_of(lengths: tuple[int, ...], rows: list[int] | None = None) -> Any:
    generator = torch.Generator().manual_seed(3)
    drawn = [tuple(torch.randint(6, 262, (n,), generator=generator).tolist()) for n in lengths]
    return collate([Encoded(ids, len(ids), label=i % 2) for i, ids in enumerate(drawn)], 0, rows)


def hidden(bone: Backbone, batch: Any, injection: Injection) -> torch.Tensor:
    return adapt(bone, "tagging", TASK).hidden(batch, injection)


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_gradient_from_the_scores(name: str) -> None:
    """softmax over [q k_prefix' ; content + the library's relative terms] of a module, written out head by head."""
    bone = tiny(name)
    module: Any = bone.attention["encoder"][0]
    kv, size, heads = random_kv(bone.spec, 3)["encoder"], 5, bone.spec.heads
    states = torch.randn(
        2, size, bone.spec.width, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    ).requires_grad_()
    mask = torch.ones(2, 1, size, size, dtype=torch.long)
    mask[1, :, :, 3:] = 0
    encoder: Any = bone.model.encoder
    relative = encoder.get_rel_pos(states) if hasattr(encoder, "get_rel_pos") else None
    rel = encoder.get_rel_embedding()
    attach(module, Prefix(kv.keys[:, 0], kv.values[:, 0], None, 0.0))
    ours, _ = module(states, mask, relative_pos=relative, rel_embeddings=rel)
    root = float(torch.tensor(3 * bone.spec.head_dim, dtype=torch.float32).sqrt())
    if name == "deberta":
        cut = module.in_proj(states).view(2, size, heads, 3, -1).permute(3, 0, 2, 1, 4)
        query, key, value = cut[0], cut[1], cut[2]
        query = (query + module.q_bias.view(heads, 1, -1)) / root
        value = value + module.v_bias.view(heads, 1, -1)
        if relative is None:
            from transformers.models.deberta.modeling_deberta import build_relative_position

            relative = build_relative_position(query, key)
        terms = module.disentangled_att_bias(query, key, relative, rel, 3)
    else:
        layers = (module.query_proj, module.key_proj, module.value_proj)
        query, key, value = (layer(states).view(2, size, heads, -1).transpose(1, 2) for layer in layers)
        flat = (query.flatten(0, 1), key.flatten(0, 1))
        terms = module.disentangled_attention_bias(*flat, relative, rel, 3).view(2, heads, size, size)
        query = query / root
    rows = []
    for row in range(2):
        seen = [place for place in range(size) if mask[row, 0, 0, place]]
        out = []
        for head in range(heads):
            real = query[row, head] @ key[row, head, seen].T + terms[row, head][:, seen]
            scores = torch.cat([query[row, head] @ kv.keys[0, 0, head].T, real], 1)
            shares = scores.exp() / scores.exp().sum(1, keepdim=True)
            out.append(shares @ torch.cat([kv.values[0, 0, head], value[row, head, seen]]))
        rows.append(torch.cat(out, 1))
    theirs = torch.stack(rows)
    close(ours, theirs)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(5), dtype=ours.dtype)
    leaves = [kv.keys, kv.values, states]
    got, wanted = (torch.autograd.grad((each * weights).sum(), leaves) for each in (ours, theirs))
    for a, b in zip(got, wanted, strict=True):
        close(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_prefix_it_is_the_library(name: str) -> None:
    bone = tiny(name)
    stock = stock_of(bone)
    batch = batch_of((9, 4))
    ours = hidden(bone, batch, Injection())
    theirs = stock(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_in_front_is_inputs_embeds_of_the_library(name: str) -> None:
    """Row by row, [P; X] through the stock model: forward and gradient."""
    bone = tiny(name)
    stock = stock_of(bone)
    prompt = random_embeds(bone.spec, 3)
    batch = batch_of((9, 4))
    ours = hidden(bone, batch, Injection(prompt))
    total: Any = 0
    for row, length in enumerate((9, 4)):
        text = stock.get_input_embeddings()(batch.ids[row : row + 1, :length])
        theirs = stock(inputs_embeds=torch.cat([prompt, text], 1)).last_hidden_state[0, 3:]
        close(ours[row, :length], theirs)
        total = total + theirs.square().sum()
    got = torch.autograd.grad(ours[batch.mask.bool()].square().sum(), prompt)[0]
    close(got, torch.autograd.grad(total, prompt)[0], 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_padding_trials_layers_and_masks(name: str) -> None:
    """Rows alone, trials alone, a shorter prefix alone, and some layers only: all equal what they are part of."""
    bone = tiny(name)
    two, adapter = (
        Injection(kv=random_kv(bone.spec, 3, 2), head=random_head(bone.spec, 2, 2)),
        adapt(bone, "pair", TASK),
    )
    kv, first, batch = two.kv["encoder"], trial_of(two, 0), batch_of((9, 4, 6))
    mixed = adapter.losses(batch_of((9, 4, 6), rows=[0, 1, 1]), two).total
    for trial, rows in ((0, [0]), (1, [1, 2])):
        close(mixed[rows], adapter.losses(batch, trial_of(two, trial)).total[rows])
    cut = replace(two, kv={"encoder": replace(kv, mask=torch.tensor([[True, True, False], [True, True, True]]))})
    short = replace(first, kv={"encoder": KeyValue(kv.keys[:1, :, :, :2], kv.values[:1, :, :, :2])})
    padded = adapter.losses(batch_of((7,), rows=[0]), cut).total
    close(padded, adapter.losses(batch_of((7,)), short).total)
    some = replace(first, kv={"encoder": KeyValue(kv.keys[:1, 1:], kv.values[:1, 1:], layers=(1,))})
    adapter.losses(batch_of((7,)), some).total.sum().backward()
    assert kv.keys.grad is not None and kv.keys.grad[0, 1].any() and not kv.keys.grad[0, 0].any()
