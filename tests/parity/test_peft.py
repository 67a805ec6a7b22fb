"""Against peft 0.21.2: equal where peft is the paper, and a record of where it is not."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from repro.methods.base import Injection, KeyValue
from repro.methods.parts.reparameterisation import join_layers
from repro.models.encoding.batch import IGNORE
from tests.parity.tiny_models import (
    adapter,
    backbone,
    close,
    facts,
    fresh_backbone,
    make_batch,
    plain,
    random_embeds,
    random_kv,
)

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.parity
P, LENGTHS = 4, (9, 3, 6)


def with_prefix(model: Any, task: str, kv: KeyValue) -> Any:
    """peft's prefix-tuning around `model`, holding our keys and values."""
    made = peft.get_peft_model(model, peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=P))
    _set(made, join_layers(kv)[0])
    return made.eval()


def with_prompt(model: Any, task: str, prompt: Tensor) -> Any:
    """peft's prompt tuning around `model`, holding our prompt (in the first P rows where peft makes more)."""
    made = peft.get_peft_model(model, peft.PromptTuningConfig(task_type=task, num_virtual_tokens=P))
    _set(made, prompt[0])
    return made.eval()


def _set(made: Any, rows: Tensor) -> None:
    table = made.prompt_encoder["default"].embedding
    assert table.weight.shape[1] == rows.shape[1]
    table.weight = torch.nn.Parameter(table.weight.detach().double().clone())
    with torch.no_grad():
        table.weight[: len(rows)] = rows


def table_of(made: Any) -> Tensor:
    return made.prompt_encoder["default"].embedding.weight


def fresh(name: str) -> Any:
    """peft changes the model it is given, so it never gets the shared one."""
    return plain.__wrapped__(name)


def theirs_of(made: Any, batch: Any) -> Tensor:
    """Mean cross-entropy over all labels from peft's logits: transformers' own loss is float32."""
    if batch.target_ids is not None:
        logits, labels = made(batch.ids, batch.mask, labels=batch.target_ids).logits, batch.target_ids
    else:
        logits, labels = made(batch.ids, batch.mask).logits[:, -batch.ids.shape[1] :], batch.token_labels
        logits, labels = logits[:, :-1], labels[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)


def ours_of(bone: Any, batch: Any, injection: Injection) -> Tensor:
    """The same mean of our row losses."""
    losses = adapter(bone).losses(batch, injection)
    return losses.total.sum() / losses.count.sum()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_prefix_tuning_of_decoders(name):
    """The layout [2L, H, Dh] is peft's (and the papers'), positions shift by P, heads may be grouped."""
    bone = backbone(name)
    batch, kv = make_batch(bone, LENGTHS), random_kv(bone.spec, P)
    made, injection = with_prefix(fresh(name), "CAUSAL_LM", kv["decoder"]), Injection(kv=kv, position_shift=P)
    ours, theirs = ours_of(bone, batch, injection), theirs_of(made, batch)
    close(ours, theirs)
    ours.backward()
    theirs.backward()
    close(join_layers(KeyValue(kv["decoder"].keys.grad, kv["decoder"].values.grad))[0], table_of(made).grad)
    bone.inject(injection, None)
    real = batch.mask.bool()
    logits = bone.model(batch.ids, attention_mask=batch.mask).logits
    close(logits[real], made(input_ids=batch.ids, attention_mask=batch.mask).logits[real])


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_prefix_tuning_of_encoder_features(name):
    bone = backbone(name)
    batch, kv = make_batch(bone, LENGTHS), random_kv(bone.spec, P)
    made = with_prefix(fresh(name), "FEATURE_EXTRACTION", kv["encoder"])
    theirs = made(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
    ours = adapter(bone).hidden(replace(batch, token_types=None), Injection(kv=kv, position_shift=P))
    close(ours[batch.mask.bool()], theirs[batch.mask.bool()])
    if name == "bert":
        with pytest.warns(UserWarning, match="Token type ids are not supported"):
            dropped = made(batch.ids, batch.mask, token_type_ids=batch.token_types).last_hidden_state
        assert torch.equal(dropped, theirs)
        with_types = adapter(bone).hidden(batch, Injection(kv=kv, position_shift=P))
        assert not torch.allclose(with_types, ours, atol=1e-2)


@pytest.mark.parametrize(("name", "task"), [("gpt2", "CAUSAL_LM"), ("llama", "CAUSAL_LM"), ("t5", "SEQ_2_SEQ_LM")])
def test_prompt_tuning(name, task):
    bone = backbone(name)
    batch, prompt = make_batch(bone, LENGTHS), random_embeds(bone.spec, P)
    made = with_prompt(fresh(name), task, prompt)
    assert len(table_of(made)) == (2 * P if name == "t5" else P)  # peft counts the prompt twice in encoder-decoders
    ours, theirs = ours_of(bone, batch, Injection(embeds=prompt)), theirs_of(made, batch)
    close(ours, theirs)
    ours.backward()
    theirs.backward()
    close(prompt.grad[0], table_of(made).grad[:P])
    assert not table_of(made).grad[P:].any()  # the second half of peft's rows reaches nothing


# Where peft is not Li and Liang's prefix-tuning: on T5 and BART it reaches the decoder's self-attention only.


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_pefts_prefix_does_not_reach_encoder_and_cross_attention(name):
    bone = backbone(name)
    batch, kv = make_batch(bone, LENGTHS), random_kv(bone.spec, P)
    made = with_prefix(fresh(name), "SEQ_2_SEQ_LM", kv["decoder"])
    one_site = P * bone.spec.kv_width("decoder")
    assert table_of(made).numel() == one_site == P * 2 * facts(name)["decoder_layers"] * facts(name)["width"]
    theirs = made(input_ids=batch.ids, attention_mask=batch.mask, labels=batch.target_ids)
    memory = fresh(name).get_encoder()(batch.ids, batch.mask).last_hidden_state
    assert torch.equal(theirs.encoder_last_hidden_state, memory)  # as if there were no prefix
    everywhere = ours_of(bone, batch, Injection(kv=kv, position_shift=P))
    assert (everywhere - theirs_of(made, batch)).abs() > 1e-3
    bone.inject(Injection(kv=kv, position_shift=P), None)
    assert not torch.allclose(bone.model.get_encoder()(batch.ids, batch.mask).last_hidden_state, memory, atol=1e-2)


def pefts_layers(kv: KeyValue) -> KeyValue:
    """peft splits its doubled list of keys and values by fours: of each four, the first two reach self-attention.

    So layer i is given the prefix meant for layer 2i (counted round), and the odd layers' prefixes reach nothing.
    """
    layers = kv.keys.shape[1]
    chosen = [2 * layer % layers for layer in range(layers)]
    return KeyValue(kv.keys[:, chosen], kv.values[:, chosen])


def test_pefts_bart_is_our_decoder_site_alone_with_half_of_the_layers():
    bone = backbone("bart")
    batch, kv = make_batch(bone, LENGTHS), random_kv(bone.spec, P, sites=("decoder",))["decoder"]
    made = with_prefix(fresh("bart"), "SEQ_2_SEQ_LM", kv)
    theirs = theirs_of(made, batch)
    close(ours_of(bone, batch, Injection(kv={"decoder": pefts_layers(kv)}, position_shift=P)), theirs)
    assert (ours_of(bone, batch, Injection(kv={"decoder": kv}, position_shift=P)) - theirs).abs() > 1e-3
    theirs.backward()
    by_layer = table_of(made).grad.view(P, 2, -1).abs().sum((0, 2))
    assert by_layer[0] > 0
    assert by_layer[1] == 0


def test_pefts_t5_gives_the_prefix_a_relative_bias():
    """Not even the decoder site alone: its prefix counts as earlier tokens, and T5 has a bias for those."""
    bone = backbone("t5")
    batch, kv = make_batch(bone, LENGTHS), random_kv(bone.spec, P, sites=("decoder",))["decoder"]
    ours = {"decoder": pefts_layers(kv)}
    with_bias = theirs_of(with_prefix(fresh("t5"), "SEQ_2_SEQ_LM", kv), batch)
    assert (ours_of(bone, batch, Injection(kv=ours)) - with_bias).abs() > 1e-3
    # With the bias silenced in both models they are the same computation.
    ours_flat, theirs_flat = fresh_backbone("t5"), fresh("t5")
    for model in (ours_flat.model, theirs_flat):
        model.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.data.zero_()
    made = with_prefix(theirs_flat, "SEQ_2_SEQ_LM", kv)
    close(ours_of(ours_flat, batch, Injection(kv=ours)), theirs_of(made, batch))
