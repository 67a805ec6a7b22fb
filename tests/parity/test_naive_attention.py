"""A prefix at every site equals the papers' formula written out: outputs and gradients at 1e-10."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from repro.methods.base import Injection
from repro.models.attention.prefix_attention import use
from repro.models.backbone import Backbone
from repro.models.families.family import family
from tests.models.loaded import spec_of
from tests.parity import naive
from tests.parity.tiny_models import (
    DECODERS,
    FAMILIES,
    IMPLEMENTATIONS,
    adapter,
    backbone,
    close,
    enlarge,
    facts,
    last_hidden,
    leaves,
    make_batch,
    plain,
    random_head,
    random_kv,
)

pytestmark = pytest.mark.parity
LENGTHS = (17, 5, 9)  # beyond eight, so that T5's logarithmic buckets are used
SITES = {
    "t5": [("encoder",), ("decoder",), ("cross",), ("encoder", "decoder", "cross")],
    "bart": [("encoder",), ("decoder",), ("cross",), ("encoder", "decoder", "cross")],
    "gpt2": [("decoder",)],
    "llama": [("decoder",)],
    "bert": [("encoder",)],
    "roberta": [("encoder",)],
}
CASES = [(name, sites) for name in FAMILIES for sites in SITES[name]]


def gradients(outputs: list[Tensor], tensors: list[Tensor]) -> list[Tensor]:
    """Of a fixed random projection of all outputs."""
    generator = torch.Generator().manual_seed(3)
    total = sum((out * torch.randn(out.shape, generator=generator, dtype=out.dtype)).sum() for out in outputs)
    return list(torch.autograd.grad(total, tensors))


def close_all(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-10) -> None:
    assert len(ours) == len(theirs) > 0
    for got, wanted in zip(ours, theirs, strict=True):
        close(got, wanted, tolerance)


def prefixes_of(kv: dict[str, Any]) -> naive.Prefixes:
    return {site: (pair.keys[0], pair.values[0]) for site, pair in kv.items()}


# The whole model from its weights: GPT-2, BERT, T5 (encoder, decoder and cross-attention).


@pytest.mark.parametrize("attention", IMPLEMENTATIONS)
@pytest.mark.parametrize("shift", [0, 4])
def test_gpt2_from_its_weights(attention, shift):
    bone = backbone("gpt2", attention)
    batch, kv = make_batch(bone, LENGTHS), random_kv(bone.spec, 4)
    losses = adapter(bone).losses(batch, Injection(kv=kv, position_shift=shift)).total
    logits = naive.gpt2(bone.model, batch.ids, batch.mask, prefixes_of(kv), shift)
    wanted = naive.cross_entropy(logits[:, :-1], batch.token_labels[:, 1:])
    close(losses, wanted)
    close_all(gradients([losses], leaves(kv)), gradients([wanted], leaves(kv)))


@pytest.mark.parametrize("attention", IMPLEMENTATIONS)
@pytest.mark.parametrize("shift", [0, 4])
def test_bert_from_its_weights(attention, shift):
    bone = backbone("bert", attention)
    batch, kv, head = make_batch(bone, LENGTHS), random_kv(bone.spec, 4), random_head(bone.spec, 3)
    losses = adapter(bone).losses(batch, Injection(kv=kv, position_shift=shift, head=head)).total
    hidden = naive.bert(bone.model, batch.ids, batch.mask, batch.token_types, prefixes_of(kv), shift)
    pooler = bone.model.pooler.dense
    features = torch.tanh(hidden[:, 0] @ pooler.weight.T + pooler.bias)
    wanted = naive.cross_entropy((features @ head.weight[0].T + head.bias[0])[:, None], batch.labels[:, None])
    close(losses, wanted)
    tensors = [*leaves(kv), head.weight, head.bias]
    close_all(gradients([losses], tensors), gradients([wanted], tensors))


@pytest.mark.parametrize("attention", IMPLEMENTATIONS)
@pytest.mark.parametrize("sites", SITES["t5"], ids="-".join)
def test_t5_from_its_weights(attention, sites):
    bone = backbone("t5", attention)
    batch, kv = make_batch(bone, LENGTHS), random_kv(bone.spec, 4, sites=sites)
    losses = adapter(bone).losses(batch, Injection(kv=kv)).total
    start = batch.target_ids.new_zeros(len(LENGTHS), 1)
    inputs = torch.cat([start, batch.target_ids[:, :-1].clamp(min=0)], 1)
    memory, logits = naive.t5(bone.model, batch.ids, batch.mask, inputs, prefixes_of(kv))
    wanted = naive.cross_entropy(logits, batch.target_ids)
    close(losses, wanted)
    close_all(gradients([losses], leaves(kv)), gradients([wanted], leaves(kv)))
    close(bone.model.get_encoder()(batch.ids, batch.mask).last_hidden_state, memory)


# Every family and site: the library's model with the formula in place of its attention.

_SLOT = "written_out"


def _written_out(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> Any:
    prefix, allowed, t5 = module.__dict__[_SLOT]
    bias = kwargs["position_bias"][0] if t5 else None
    scale = 1.0 if t5 else query.shape[-1] ** -0.5
    return naive.attention(query, key, value, prefix, allowed, scale, bias).transpose(1, 2), None


AttentionInterface.register("written_out", _written_out)
AttentionMaskInterface.register("written_out", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def written_out_model(name: str, batch: Any, kv: dict[str, Any]) -> Any:
    """The plain model whose attention is `naive.attention` with its own masks."""
    model, kind = plain(name, "written_out"), family(name)
    targets = 0 if batch.target_ids is None else batch.target_ids.shape[1]
    length = batch.ids.shape[1]
    real = batch.mask.bool()[:, None, :]

    def causal(size: int) -> Tensor:
        return torch.ones(size, size).tril().bool().expand(len(batch.ids), -1, -1)

    allowed = {
        "encoder": real.expand(-1, length, -1),
        "cross": real.expand(-1, targets, -1),
        "decoder": causal(targets) if targets else causal(length) & real,
    }
    for site, modules in kind.sites(model).items():
        for layer, module in enumerate(modules):
            prefix = naive.layer_prefix(prefixes_of(kv), site, layer)
            module.__dict__[_SLOT] = (prefix, allowed[site], name == "t5")
    return model


@pytest.mark.parametrize("attention", IMPLEMENTATIONS)
@pytest.mark.parametrize(("name", "sites"), CASES, ids=[f"{name}-{'-'.join(sites)}" for name, sites in CASES])
def test_every_site_of_every_family(name, sites, attention):
    # Llama's eager attention takes its softmax in float32.
    tolerance = 1e-5 if (name, attention) == ("llama", "eager") else 1e-10
    bone = backbone(name, attention)
    batch, kv = make_batch(bone, LENGTHS), random_kv(bone.spec, 4, sites=sites)
    bone.inject(Injection(kv=kv), None)
    ours = last_hidden(bone.model, batch)
    theirs = last_hidden(written_out_model(name, batch, kv), batch)
    close_all(ours, theirs, tolerance)
    close_all(gradients(ours, leaves(kv)), gradients(theirs, leaves(kv)), tolerance)
    bone.inject(Injection(), None)
    assert not torch.allclose(ours[-1], last_hidden(bone.model, batch)[-1], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "lengths", "training"),
    [*((name, (9, 9, 9), True) for name in FAMILIES), *((name, LENGTHS, False) for name in DECODERS)],
)
def test_without_padding_where_the_library_skips_the_mask_and_padded_on_the_left(name, lengths, training):
    bone = backbone(name)
    batch, kv = make_batch(bone, lengths, training), random_kv(bone.spec, 4)
    assert training or batch.mask[1, 0] == 0
    bone.inject(Injection(kv=kv), None)
    ours, theirs = last_hidden(bone.model, batch), last_hidden(written_out_model(name, batch, kv), batch)
    ours, theirs = ([states[batch.mask.bool()] for states in each] if not training else each for each in (ours, theirs))
    close_all(ours, theirs)
    close_all(gradients(ours, leaves(kv)), gradients(theirs, leaves(kv)))


# Relatives of Llama that have biases on q, k, v (Qwen2) or norms on q and k (Qwen3).


@pytest.mark.parametrize("attention", IMPLEMENTATIONS)
@pytest.mark.parametrize("made", ["Qwen2Config", "Qwen3Config"])
def test_relatives_of_llama(made, attention):
    import transformers

    config = getattr(transformers, made)(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=262, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip

    def model() -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            built = transformers.AutoModelForCausalLM.from_config(deepcopy(config), dtype=torch.float64)
        enlarge(built)
        return built.requires_grad_(False).eval()

    spec, kind = spec_of(facts("llama")), family("llama")
    bone, theirs, stock = Backbone(model(), backbone("llama").tokenizer, kind, spec), model(), model()
    use(bone.model, attention)
    theirs.config._attn_implementation, stock.config._attn_implementation = "written_out", attention
    batch, kv = make_batch(bone, LENGTHS), random_kv(spec, 4)
    bone.inject(Injection(), None)
    assert all(map(torch.equal, last_hidden(bone.model, batch), last_hidden(stock, batch)))
    allowed = torch.ones(batch.ids.shape[1], batch.ids.shape[1]).tril().bool() & batch.mask.bool()[:, None, :]
    for layer, module in enumerate(kind.sites(theirs)["decoder"]):
        module.__dict__[_SLOT] = (naive.layer_prefix(prefixes_of(kv), "decoder", layer), allowed, False)
    bone.inject(Injection(kv=kv), None)
    ours, wanted = last_hidden(bone.model, batch), last_hidden(theirs, batch)
    tolerance = 1e-10 if attention == "sdpa" else 1e-5  # eager takes its softmax in float32
    close_all(ours, wanted, tolerance)
    close_all(gradients(ours, leaves(kv)), gradients(wanted, leaves(kv)), tolerance)
