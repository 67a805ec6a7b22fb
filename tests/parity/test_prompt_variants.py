"""P-tuning's encoders, the deep MLP, layer subsets and the official "PT" on encoders, each written out or by torch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from repro.methods.base import Injection
from repro.methods.parts.encoded_prompt import PTuning, bi_lstm
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.parts.keyed_dropout import dropped, mixed, site_number
from repro.methods.parts.reparameterisation import layer_indices
from tests.parity.tiny_models import (
    ENCODERS,
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


def torchs_lstm(states: Tensor, tensors: Any, units: int, layers: tuple[int, ...], trial: int = 0) -> Tensor:
    """Some layers of `nn.LSTM` with one trial's tensors."""
    names = {"weight_ih": "wi", "weight_hh": "wh", "bias_ih": "bi", "bias_hh": "bh"}
    weights = {
        f"{name}_l{number}{mark}": tensors[f"lstm.{layer}.{way}.{part}"][trial]
        for number, layer in enumerate(layers)
        for mark, way in (("", "forward"), ("_reverse", "backward"))
        for name, part in names.items()
    }
    lstm = nn.LSTM(states.shape[2], units, len(layers), bidirectional=True, batch_first=True).double()
    return torch.func.functional_call(lstm, weights, (states,))[0]


@pytest.mark.parametrize("hidden", [None, 6])
def test_the_lstm_is_torchs(hidden: int | None) -> None:
    """Two trials through their own weights equal `nn.LSTM(bidirectional, two layers)`, forward and gradient."""
    bone = backbone("bert")
    method = build_double(PTuning(P, "lstm", hidden, placement="before"), bone, trials=2)
    tensors, units = method.parameters, hidden or bone.spec.width
    ours = bi_lstm(tensors["encoder.embedding"], tensors)
    for trial in (0, 1):
        given = tensors["encoder.embedding"][trial : trial + 1].detach().requires_grad_()
        wanted = torchs_lstm(given, tensors, units, (0, 1), trial)
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
        states = torchs_lstm(states, tensors, 6, (layer,))
    close(ours, states)
    drawn = [method.injection(True, torch.tensor([key])).embeds for key in (1, 2)]
    assert not torch.allclose(*drawn)
    close(
        method.injection(False).embeds,
        build_double(PTuning(P, "lstm", 6, placement="before"), bone).injection(True).embeds,
    )


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


@pytest.mark.parametrize(("layers", "wanted"), [("all", (0, 1, 2, 3)), ("first:3", (0, 1, 2)), ("last:1", (3,))])
def test_layer_names(layers: str, wanted: tuple[int, ...]) -> None:
    assert layer_indices(layers, 4) == wanted


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
