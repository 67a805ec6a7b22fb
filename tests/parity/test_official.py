"""Each paper's computation from end to end: parameters to loss, written out or as the official code is laid out.

The parts (attention, MLP, positions) have tests of their own; here they are put together, and the gradient of every
trained tensor is compared, in float64 at 1e-10.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache

from repro.methods.parts.encoded_prompt import PTuning
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method
from repro.models.backbone import Backbone
from repro.models.encoding.batch import IGNORE, Batch, collate
from tests.pairwise import pairwise
from tests.parity import naive
from tests.parity.test_naive_attention import written_out_model
from tests.parity.test_prompt_variants import torchs_lstm
from tests.parity.tiny_models import adapter, backbone, build_double, close, items, make_batch, plain

pytestmark = pytest.mark.parity
P, LENGTHS = 4, (9, 3, 6)
FORMATS = ("pair", "choice", "tagging", "span")


def same(ours: Tensor, theirs: Tensor, method: Any, skip: tuple[str, ...] = ()) -> None:
    """Losses of the rows, and the gradients of all that the method trains."""
    close(ours, theirs)
    names = [name for name in method.parameters if name not in skip]
    leaves = [method.parameters[name] for name in names]
    got, wanted = (torch.autograd.grad(each.sum(), leaves, retain_graph=True) for each in (ours, theirs))
    for name, a, b in zip(names, got, wanted, strict=True):
        assert a.abs().max() > 1e-9, f"{name} is not reached"
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


# Encoders: what stands on the hidden states ----------------------------------------------------------------------


def encoder_batch(bone: Backbone, format: str) -> Batch:
    """Rows of a format: two choices an example, tags on some tokens, or answers."""
    lengths = (9, 3, 6, 5)
    made = items("encoder", lengths, True)
    if bone.family.name == "roberta":
        made = [replace(item, token_types=None) for item in made]
    if format == "choice":
        made = [replace(item, label=index // 2) for index, item in enumerate(made)]
    if format == "tagging":
        tags = [(IGNORE, 1, *(IGNORE, 2) * 4)[:n] for n in lengths]
        made = [replace(item, token_labels=tag) for item, tag in zip(made, tags, strict=True)]
    if format == "span":
        made = [replace(item, answer=(1, n - 1)) for item, n in zip(made, lengths, strict=True)]
    return collate(made, 0, choices=2 if format == "choice" else 1)


def head_loss(model: Any, states: Tensor, batch: Batch, method: Any, format: str) -> Tensor:
    """Losses of examples from the states of the real tokens [N, T, D], in the official code's order of layers."""
    weight, bias = method.parameters["head.weight"][0], method.parameters["head.bias"][0]
    if format in ("pair", "choice"):
        dense = model.pooler.dense
        states = torch.tanh(states[:, 0] @ dense.weight.T + dense.bias)
    logits = states @ weight.T + bias
    if format == "pair":
        return naive.cross_entropy(logits[:, None], batch.labels[:, None])
    if format == "choice":
        return naive.cross_entropy(logits.view(-1, 1, 2), batch.labels[:, None])
    if format == "tagging":
        return naive.cross_entropy(logits, batch.token_labels)
    places = logits.masked_fill(batch.mask[..., None] == 0, -torch.inf).mT  # N 2 T: start and end over the text
    return naive.cross_entropy(places, batch.answers) / 2


def build_for(method: Any, bone: Backbone, format: str) -> Any:
    """The method in float64 with the head that a format needs."""
    method = build_double(method, bone)
    outputs = {"choice": 1, "span": 2}.get(format, 3)
    for name in ("head.weight", "head.bias"):
        method.parameters[name] = method.parameters[name].detach()[:, :outputs].clone().requires_grad_()
    with torch.no_grad():
        for tensor in method.parameters.values():  # away from a start that hides mistakes: zero biases, small numbers
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(4), dtype=tensor.dtype))
    return method


def head_bias_of(format: str) -> tuple[str, ...]:
    """The choices of an example, and the places of an answer, share it: nothing depends on it."""
    return ("head.bias",) if format in ("choice", "span") else ()


# Lester et al.: [P; X] -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
def test_prompt_tuning_of_t5(z_loss: float) -> None:
    """The prompt before the encoder's input, seen by cross-attention; T5X's loss with and without its z-term."""
    bone = backbone("t5")
    method = build_for_generation(PromptTuning(P, "uniform"), bone)
    batch = make_batch(bone, LENGTHS)
    ours = adapter(bone).losses(batch, method.injection(True), z_loss).total
    inputs = torch.cat([batch.target_ids.new_zeros(3, 1), batch.target_ids[:, :-1].clamp(min=0)], 1)
    _, logits = naive.t5(bone.model, batch.ids, batch.mask, inputs, {}, method.parameters["prompt"][0])
    z = logits.exp().sum(-1).log() * (batch.target_ids >= 0)
    theirs = naive.cross_entropy(logits, batch.target_ids) + z_loss * (z**2).sum(1)
    same(ours, theirs, method)


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
def test_prompt_tuning_of_gpt2(z_loss: float) -> None:
    bone = backbone("gpt2")
    method = build_for_generation(PromptTuning(P, "uniform"), bone)
    batch = make_batch(bone, LENGTHS)
    ours = adapter(bone).losses(batch, method.injection(True), z_loss).total
    logits = naive.gpt2(bone.model, batch.ids, batch.mask, {}, 0, method.parameters["prompt"][0])
    labels = naive.longer(method.parameters["prompt"][0], batch.token_labels, IGNORE)[:, 1:]
    z = logits[:, :-1].exp().sum(-1).log() * (labels >= 0)
    same(ours, naive.cross_entropy(logits[:, :-1], labels) + z_loss * (z**2).sum(1), method)


def build_for_generation(method: Any, bone: Backbone) -> Any:
    """In float64, and large enough to matter."""
    method = build_double(method, bone)
    method.parameters = {name: (3 * tensor.detach()).requires_grad_() for name, tensor in method.parameters.items()}
    return method


@pytest.mark.parametrize("format", FORMATS)
def test_prompt_tuning_of_bert_under_every_head(format: str) -> None:
    """The "PT" baseline of P-Tuning v2: classification, choice, and (no code was released) tagging and answers."""
    bone = backbone("bert")
    method = build_for(PromptTuning(P, "uniform"), bone, format)
    batch = encoder_batch(bone, format)
    ours = adapter(bone, format).losses(batch, method.injection(True)).total
    prompt = method.parameters["prompt"][0]
    states = naive.bert(bone.model, batch.ids, batch.mask, batch.token_types, {}, 0, prompt)[:, P:]
    same(ours, head_loss(bone.model, states, batch, method, format), method, head_bias_of(format))


# Liu et al.: PrefixEncoder and get_prompt ------------------------------------------------------------------------


def get_prompt(flat: Tensor, rows: int, layers: int, heads: int) -> list[Tensor]:
    """[P, 2 x L x D] as the official code turns it: (N, P, 2L, H, Dh) -> (2L, N, H, P, Dh), two by two."""
    view = flat.expand(rows, -1, -1).reshape(rows, len(flat), 2 * layers, heads, -1)
    return list(view.permute(2, 0, 3, 1, 4).split(2))


def past(pairs: list[Tensor]) -> DynamicCache:
    """A fresh cache, as `past_key_values` was a fresh tuple in every forward pass."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(pairs):
        cache.update(keys, values, layer)
    return cache


def prefix_encoder(parameters: dict[str, Tensor], site: str) -> Tensor:
    """`Embedding` alone, or `Embedding - Linear - Tanh - Linear (- Tanh - Linear)` over the positions, by torch."""
    if f"{site}.prefix" in parameters:
        return F.embedding(torch.arange(P), parameters[f"{site}.prefix"][0])
    states = F.embedding(torch.arange(P), parameters[f"{site}.embedding"][0])
    count = sum(name.startswith(f"{site}.w") for name in parameters)
    for number in range(1, count + 1):
        states = F.linear(states, parameters[f"{site}.w{number}"][0], parameters[f"{site}.b{number}"][0])
        states = torch.tanh(states) if number < count else states
    return states


@pytest.mark.parametrize(
    ("name", "reparameterisation", "format"), pairwise(["bert", "roberta"], ["embedding", "mlp"], FORMATS)
)
def test_p_tuning_v2(name: str, reparameterisation: str, format: str) -> None:
    bone, model = backbone(name), plain(name)
    method = build_method("p_tuning_v2", length=P, reparameterisation=reparameterisation, hidden=7, prefix_dropout=0.0)
    method, batch = build_for(method, bone, format), encoder_batch(bone, format)
    ours = adapter(bone, format).losses(batch, method.injection(True)).total
    rows, spec = len(batch.ids), bone.spec
    pairs = get_prompt(prefix_encoder(method.parameters, "encoder"), rows, spec.sites["encoder"], spec.heads)
    mask = torch.cat([torch.ones(rows, P, dtype=torch.long), batch.mask], 1)
    types = {} if batch.token_types is None else {"token_type_ids": batch.token_types}
    states = model(batch.ids, attention_mask=mask, past_key_values=past(pairs), **types).last_hidden_state
    same(ours, head_loss(model, states, batch, method, format), method, head_bias_of(format))


@pytest.mark.parametrize("which", ["first:1", "last:1"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_prompts_in_some_layers(name: str, which: str) -> None:
    """Figure 3: a layer without a prompt attends to the text alone."""
    bone = backbone(name)
    method = build_method(
        "p_tuning_v2", length=P, prefix_dropout=0.0, layers=which, shift_positions=False, init_std=1.0
    )
    method = build_for(method, bone, "pair") if name == "bert" else build_for_generation(method, bone)
    batch, layer = make_batch(bone, LENGTHS), int(which == "last:1")
    ours = adapter(bone).losses(batch, method.injection(True)).total
    prefixes = {}
    for site in bone.spec.sites:
        flat = method.parameters[f"{site}.prefix"][0].view(P, 2, bone.spec.heads, -1)
        keys, values = flat.permute(1, 2, 0, 3)
        prefixes[site] = ({layer: keys}, {layer: values})
    if name == "bert":
        states = naive.bert(bone.model, batch.ids, batch.mask, batch.token_types, prefixes, 0)
        theirs = head_loss(bone.model, states, batch, method, "pair")
    elif name == "gpt2":
        logits = naive.gpt2(bone.model, batch.ids, batch.mask, prefixes, 0)
        theirs = naive.cross_entropy(logits[:, :-1], batch.token_labels[:, 1:])
    else:
        inputs = torch.cat([batch.target_ids.new_zeros(3, 1), batch.target_ids[:, :-1].clamp(min=0)], 1)
        theirs = naive.cross_entropy(naive.t5(bone.model, batch.ids, batch.mask, inputs, prefixes)[1], batch.target_ids)
    same(ours, theirs, method)


# Li and Liang: control_trans and past_key_values -----------------------------------------------------------------


@pytest.mark.parametrize("columns", [None, 5], ids=["code", "paper"])
@pytest.mark.parametrize("reparameterisation", ["mlp", "deep", "none"])
def test_prefix_tuning_of_gpt2(reparameterisation: str, columns: int | None) -> None:
    """The loss is the sum over the target's tokens (`objective_mode 1`); positions start at P.

    P' has D columns in the code and k in the paper; without an MLP there is no P'.
    """
    bone, model = backbone("gpt2"), plain("gpt2")
    method = build_double(
        build_method(
            "prefix_tuning", length=P, reparameterisation=reparameterisation, hidden=7, embedding_width=columns
        ),
        bone,
    )
    if reparameterisation != "none":
        assert method.parameters["decoder.embedding"].shape == (1, P, columns or bone.spec.width)
    batch = make_batch(bone, LENGTHS)
    ours = adapter(bone).losses(batch, method.injection(True)).total
    flat = prefix_encoder(method.parameters, "decoder")
    pairs = get_prompt(flat, len(batch.ids), bone.spec.sites["decoder"], bone.spec.heads)
    mask = torch.cat([torch.ones(len(batch.ids), P, dtype=torch.long), batch.mask], 1)
    logits = model(batch.ids, attention_mask=mask, past_key_values=past(pairs)).logits
    same(ours, naive.cross_entropy(logits[:, :-1], batch.token_labels[:, 1:]), method)


@pytest.mark.parametrize("reparameterisation", ["mlp", "deep", "none"])
def test_prefix_tuning_of_bart_has_three_sets(reparameterisation: str) -> None:
    """An embedding and an MLP each for the encoder, the decoder and cross-attention, positions unshifted here."""
    bone = backbone("bart")
    method = build_double(
        build_method("prefix_tuning", length=P, reparameterisation=reparameterisation, hidden=7, shift_positions=False),
        bone,
    )
    batch, spec = make_batch(bone, LENGTHS), bone.spec
    ours = adapter(bone).losses(batch, method.injection(True)).total
    kv = {}
    for site, layers in spec.sites.items():
        pairs = torch.stack(get_prompt(prefix_encoder(method.parameters, site), 1, layers, spec.heads))  # L 2 1 H P Dh
        kv[site] = nn.Module()
        kv[site].keys, kv[site].values = pairs[:, 0, 0][None], pairs[:, 1, 0][None]
    model = written_out_model("bart", batch, kv)
    inputs = torch.cat([batch.target_ids.new_full((3, 1), model.config.decoder_start_token_id), batch.target_ids], 1)
    inputs = inputs[:, :-1].masked_fill(inputs[:, :-1] == IGNORE, 0)
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, decoder_input_ids=inputs, use_cache=False).logits
    same(ours, naive.cross_entropy(logits, batch.target_ids), method)


# P-tuning: every tensor of the encoder of prompts -----------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["lstm", "mlp", "embedding"])
def test_p_tuning(encoder: str) -> None:
    """Embedding -> LSTM -> Linear - ReLU - Linear by torch's modules, in front of BERT's input."""
    bone, width = backbone("bert"), backbone("bert").spec.width
    method = build_for(PTuning(P, encoder, placement="before"), bone, "pair")
    batch, given = encoder_batch(bone, "pair"), method.parameters
    ours = adapter(bone).losses(batch, method.injection(True)).total
    prompt = given.get("prompt", given.get("encoder.embedding"))[0]
    if encoder == "lstm":
        prompt = torchs_lstm(prompt[None], given, width, (0, 1))[0]
    if encoder != "embedding":
        prompt = F.relu(F.linear(prompt, given["encoder.w1"][0], given["encoder.b1"][0]))
        prompt = F.linear(prompt, given["encoder.w2"][0], given["encoder.b2"][0])
    states = naive.bert(bone.model, batch.ids, batch.mask, batch.token_types, {}, 0, prompt)[:, P:]
    same(ours, head_loss(bone.model, states, batch, method, "pair"), method)
