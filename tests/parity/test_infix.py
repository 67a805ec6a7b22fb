"""Infix-tuning, embedding-only and the start from real words, each against the official construction by a cache."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from repro.methods.base import Context, Injection, KeyValue
from repro.methods.parts.infix import InfixTuning
from repro.methods.parts.projected_prompt import EmbeddingOnly
from repro.methods.parts.reparameterisation import join_layers, mlp, prefix_of, split_layers
from repro.methods.registry import build as build_method
from repro.models.encoding.batch import IGNORE, Batch, Encoded, collate
from repro.models.prefix_activations import activations
from tests.parity.tiny_models import (
    DECODERS,
    adapter,
    backbone,
    build_double,
    close,
    generated_ids,
    items,
    plain,
    random_embeds,
    random_kv,
)

pytestmark = pytest.mark.parity
P, LENGTHS = 3, (7, 4, 9)


def batch_of(training: bool, rows: list[int] | None = None) -> Batch:
    """Sources that end in a separator, padded as training or generation pads them."""
    made = [replace(item, separated=True) for item in items("decoder", LENGTHS, training)]
    return collate(made, 0, rows=rows, left=not training)


def injection_of(name: str, trials: int = 1) -> Injection:
    spec = backbone(name).spec
    return Injection(random_embeds(spec, P, trials), placement="infix", infix=random_kv(spec, P, trials)["decoder"])


def official_loss(model: Any, item: Encoded, prompt: Tensor, added: KeyValue) -> Tensor:
    """[x, infix] through the plain model, the addition in its cache, then the separator and y."""
    ids = torch.tensor(item.ids)
    behind = item.source_length - 1  # the separator starts what is read last
    source = model.get_input_embeddings()(ids[None, :behind])
    cache = DynamicCache()
    model.base_model(inputs_embeds=torch.cat([source, prompt[None]], 1), past_key_values=cache, use_cache=True)
    changed = DynamicCache()
    for layer, state in enumerate(cache.layers):
        keys, values = state.keys.clone(), state.values.clone()
        keys[:, :, behind:] = keys[:, :, behind:] + added.keys[0, layer]
        values[:, :, behind:] = values[:, :, behind:] + added.values[0, layer]
        changed.update(keys, values, layer)
    rest = ids[behind:]
    mask = torch.ones(1, behind + P + len(rest), dtype=torch.long)
    logits = model(rest[None], attention_mask=mask, past_key_values=changed).logits[0]
    return torch.nn.functional.cross_entropy(logits[:-1], rest[1:], reduction="sum")


@pytest.mark.parametrize(  # Llama's eager softmax runs in float32 whatever the weights are
    ("name", "attention"), [("gpt2", "sdpa"), ("gpt2", "eager"), ("llama", "sdpa")]
)
def test_infix_loss_and_gradient(name, attention):
    bone, injection = backbone(name, attention), injection_of(name)
    leaves = [injection.embeds, injection.infix.keys, injection.infix.values]
    ours = adapter(bone).losses(batch_of(True), injection).total
    made = [replace(item, separated=True) for item in items("decoder", LENGTHS, True)]
    theirs = torch.stack([official_loss(plain(name), item, injection.embeds[0], injection.infix) for item in made])
    close(ours, theirs)
    for a, b in zip(torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(theirs.sum(), leaves), strict=True):
        close(a, b)
        assert a.abs().max() > 1e-6


@pytest.mark.parametrize("name", DECODERS)
def test_the_source_does_not_see_what_was_added(name):
    """Without a target behind it the addition changes nothing; with one it does."""
    bone, injection = backbone(name), injection_of(name)
    item = Encoded((9, 8, 7, 6), 4, token_labels=(IGNORE, IGNORE, 7, IGNORE), separated=True)
    batch = collate([item], 0)
    close(
        adapter(bone).losses(batch, injection).total, adapter(bone).losses(batch, replace(injection, infix=None)).total
    )
    whole = batch_of(True)
    changed = (
        adapter(bone).losses(whole, injection).total - adapter(bone).losses(whole, replace(injection, infix=None)).total
    )
    assert changed.abs().min() > 1e-3


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", DECODERS)
def test_infix_generation_with_a_cache_equals_scoring_without(name, beams):
    """Each generated token is the best (or the beam's total the same) by the loss that training sees."""
    bone, injection = backbone(name), injection_of(name)
    adapted = adapter(bone)
    for index, item in enumerate(items("decoder", LENGTHS, False)):
        alone = collate([replace(item, separated=True)], 0, left=True)
        [alone_out] = generated_ids(adapted, alone, injection, beams=beams, max_new_tokens=5)
        together = generated_ids(adapted, batch_of(False), injection, beams=beams, max_new_tokens=5)[index]
        kept = [token for token in alone_out if token != 0]
        assert kept == [token for token in together if token != 0] and kept
        if beams > 1:
            continue
        for place, token in enumerate(kept):
            ids = (*item.ids, *kept[:place])
            scores = []
            for candidate in (token, (token + 1) % 262, 17, 99):
                labels = (IGNORE,) * len(ids) + (candidate,)
                scored = Encoded((*ids, candidate), item.source_length, token_labels=labels, separated=True)
                scores.append(float(adapted.losses(collate([scored], 0), injection).total.detach()))
            assert min(scores) == scores[0]


@pytest.mark.parametrize("name", DECODERS)
def test_two_infixes_in_one_batch_equal_each_alone(name):
    bone, both = backbone(name), injection_of(name, trials=2)
    mixed = adapter(bone).losses(batch_of(True, rows=[0, 1, 0]), both).total
    for trial, rows in ((0, [0, 2]), (1, [1])):
        one = slice(trial, trial + 1)
        alone = Injection(
            both.embeds[one], placement="infix", infix=KeyValue(both.infix.keys[one], both.infix.values[one])
        )
        close(mixed[rows], adapter(bone).losses(batch_of(True), alone).total[rows])


@pytest.mark.parametrize("reparameterisation", ["mlp", "none"])
@pytest.mark.parametrize("name", DECODERS)
def test_infix_method(name, reparameterisation):
    bone = backbone(name)
    method = build_double(InfixTuning(P, reparameterisation, hidden=5), bone, trials=2)
    injection, spec = method.injection(True), bone.spec
    close(injection.embeds, method.parameters["prompt"])
    close(join_layers(injection.infix), prefix_of(method.parameters, "decoder"))
    width = spec.kv_width("decoder")
    stored = P * spec.width + P * width
    trained = stored if reparameterisation == "none" else 2 * P * spec.width + 5 * (spec.width + 1) + width * 6
    assert method.parameter_counts() == {"trained": trained, "stored": stored, "prompt": stored, "head": 0}
    fresh = InfixTuning(P, reparameterisation, hidden=5)
    fresh = build_double(fresh, bone, trials=2)
    fresh.restore(method.export())
    close(fresh.injection(False).infix.values, injection.infix.values)


@pytest.mark.parametrize("reparameterisation", ["mlp", "none"])
@pytest.mark.parametrize("name", DECODERS)
def test_embedding_only_is_the_models_own_prefix(name, reparameterisation):
    """A prompt in front equals the cache that the frozen model fills when it reads the prompt alone."""
    bone, model = backbone(name), plain(name)
    method = build_double(EmbeddingOnly(P, reparameterisation, hidden=5), bone)
    injection = method.injection(True)
    batch = batch_of(True)
    ours = adapter(bone).losses(batch, injection).total
    cache, count = DynamicCache(), len(batch.ids)
    prompt = injection.embeds.expand(count, -1, -1)
    model.base_model(inputs_embeds=prompt, past_key_values=cache, use_cache=True)
    mask = torch.cat([batch.mask.new_ones(count, P), batch.mask], 1)
    hidden = model.base_model(batch.ids, attention_mask=mask, past_key_values=cache).last_hidden_state
    logits = model.get_output_embeddings()(hidden)[:, :-1]
    theirs = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.token_labels[:, 1:].flatten(), reduction="none", ignore_index=IGNORE
    )
    theirs = theirs.view(count, -1).sum(1)
    close(ours, theirs)
    leaves = list(method.parameters.values())
    got = torch.autograd.grad(ours.sum(), leaves, retain_graph=True)
    for a, b in zip(got, torch.autograd.grad(theirs.sum(), leaves), strict=True):
        close(a, b)
    width = bone.spec.width
    trained = P * width if reparameterisation == "none" else P * width + 5 * width + 5 + width * 5 + width
    assert method.parameter_counts() == {"trained": trained, "stored": P * width, "prompt": P * width, "head": 0}


# The start from real words -------------------------------------------------------------------------------------------


def context_of(name: str, trials: int = 1) -> Context:
    bone = backbone(name)
    return Context(
        spec=bone.spec,
        embeddings=bone.model.get_input_embeddings().weight.detach().float(),
        tokenize=lambda text: bone.tokenizer(text, add_special_tokens=False)["input_ids"],
        labels=(),
        outputs=None,
        generators=[torch.Generator().manual_seed(trial) for trial in range(trials)],
        activations=lambda ids: {site: flat.float() for site, flat in activations(bone, ids).items()},
    )


@pytest.mark.parametrize("name", DECODERS)
def test_activations_are_what_a_reader_of_the_words_would_see(name):
    """The prefix made of a word's activations equals the word itself in front of the input."""
    bone, ids = backbone(name), [9, 40, 7]
    batch = batch_of(True)
    found = split_layers(activations(bone, ids)["decoder"][None], bone.spec, "decoder")
    ours = adapter(bone).losses(batch, Injection(kv={"decoder": found}, position_shift=3)).total
    in_front = bone.model.get_input_embeddings()(torch.tensor([ids]))
    close(ours, adapter(bone).losses(batch, Injection(in_front)).total)


def test_a_prefix_starts_at_the_activations_of_its_words():
    """Directly, or as near as 500 updates of the MLP bring it, its embedding untouched."""
    context = context_of("gpt2", trials=2)
    ids = context.tokenize(" ab")
    target = context.activations(ids)["decoder"]
    direct = build_method("prefix_tuning", length=len(ids), reparameterisation="none", init_text="ab")
    direct.build(context)
    close(direct.parameters["decoder.prefix"], target.expand(2, -1, -1), 1e-6)
    cold = build_method("prefix_tuning", length=len(ids), reparameterisation="mlp", hidden=16)
    cold.build(context_of("gpt2", trials=2))
    warm = build_method(
        "prefix_tuning", length=len(ids), reparameterisation="mlp", hidden=16, init_text="ab", init_steps=500
    )
    warm.build(context_of("gpt2", trials=2))
    close(warm.parameters["decoder.embedding"], cold.parameters["decoder.embedding"], 0)
    before, after = (
        (mlp(method.parameters, "decoder") - target).square().flatten(1).mean(1) for method in (cold, warm)
    )
    assert (after < 0.95 * before).all()
    assert all(tensor.grad is None or not tensor.grad.any() for tensor in warm.parameters.values())


def test_the_fit_is_adam_on_the_layers_alone():
    """Five updates written out with torch's own modules."""
    context = context_of("gpt2")
    ids = context.tokenize(" ab")
    warm = build_method(
        "prefix_tuning", length=len(ids), reparameterisation="mlp", hidden=16, init_text="ab", init_steps=5
    )
    warm.build(context)
    cold = build_method("prefix_tuning", length=len(ids), reparameterisation="mlp", hidden=16)
    cold.build(context_of("gpt2"))
    start = {name: tensor.detach().clone() for name, tensor in cold.parameters.items()}
    first, second = torch.nn.Linear(32, 16), torch.nn.Linear(16, start["decoder.w2"].shape[1])
    for layer, number in ((first, 1), (second, 2)):
        layer.weight.data, layer.bias.data = start[f"decoder.w{number}"][0], start[f"decoder.b{number}"][0]
    net = torch.nn.Sequential(first, torch.nn.Tanh(), second)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)
    target = context.activations(ids)["decoder"]
    for _ in range(5):
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(net(start["decoder.embedding"][0]), target).backward()
        optimiser.step()
    close(warm.parameters["decoder.w1"][0], first.weight, 1e-6)
    close(warm.parameters["decoder.b2"][0], second.bias, 1e-6)


def test_a_length_that_is_not_the_number_of_tokens_is_refused():
    from repro.errors import ConfigError

    with pytest.raises(ConfigError, match=r"method.length=9: method.init_text='ab' is 3 tokens .* method.length=3"):
        build_method("prefix_tuning", length=9, reparameterisation="none", init_text="ab").build(context_of("gpt2"))
