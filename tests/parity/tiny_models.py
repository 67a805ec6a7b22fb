"""Tiny random models of every family in float64, batches for them, and prompts of any shape.

Weights are made larger than a fresh model's, so that attention is far from uniform and a misplaced prefix cannot hide.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from repro.methods.base import PLACEMENTS, Context, Head, Injection, KeyValue, ModelSpec
from repro.models.backbone import Backbone
from repro.models.encoding.batch import IGNORE, Batch, Encoded, collate
from repro.models.families.family import family
from tests.models.loaded import adapt, load_backbone, random_model

CONF = Path(__file__).parents[2] / "conf" / "model"
FAMILIES = ("t5", "bart", "gpt2", "llama", "bert", "roberta")
DECODERS = ("gpt2", "llama")
ENCODERS = ("bert", "roberta")
ENCODER_DECODERS = ("t5", "bart")
IMPLEMENTATIONS = ("sdpa", "eager")
FIRST_BYTE, VOCABULARY = 6, 262
TASK = {"max_input_length": 64, "max_target_length": 16}


def facts(name: str) -> dict[str, Any]:
    """`conf/model/tiny-<name>.yaml`"""
    return yaml.safe_load((CONF / f"tiny-{name}.yaml").read_text())


def enlarge(model: Any) -> None:
    """The same stronger weights for every model of a family: larger matrices (T5's start large), and drawn vectors.

    The RMS norms of T5 and Llama compute in float32 whatever the weights are: in a float64 model torch's own replaces
    them, or no comparison could be closer than 1e-7.
    """
    generator = torch.Generator().manual_seed(1)
    t5, embeddings = model.config.model_type == "t5", model.get_input_embeddings().weight
    with torch.no_grad():
        for _, tensor in sorted(model.named_parameters()):
            if tensor.dim() > 1:
                tensor.mul_(1.5 if t5 else 5.0 if tensor is embeddings else 15.0)
            else:
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator).to(tensor.dtype))
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.add_(0.1 * torch.randn(model.final_logits_bias.shape, generator=generator))
    if embeddings.dtype == torch.float64:
        for part in list(model.modules()):
            for name, child in list(part.named_children()):
                if type(child).__name__.endswith(("T5LayerNorm", "RMSNorm")) and not isinstance(
                    child, torch.nn.RMSNorm
                ):
                    exact = torch.nn.RMSNorm(child.weight.shape, child.variance_epsilon)
                    exact.weight = child.weight
                    setattr(part, name, exact)


def fresh_backbone(name: str, attention: str = "sdpa", dtype: str = "float64") -> Backbone:
    """The tiny model of a family as the project loads it; for tests that change it."""
    trainer = {"dtype": dtype, "attention": attention, "backbone_dropout": None, "attention_dropout": None}
    loaded, deviations = load_backbone(facts(name), trainer, torch.device("cpu"))
    assert deviations == []
    enlarge(loaded.model)
    return loaded


backbone = cache(fresh_backbone)
"""The same, made once: it keeps the last injection, so every test injects its own before it looks."""


@cache
def plain(name: str, attention: str = "sdpa", dtype: torch.dtype = torch.float64) -> Any:
    """The same weights in transformers' own model under its own attention: nothing of ours in the forward pass."""
    from transformers import PreTrainedModel

    kind = family(name)
    dropouts = dict.fromkeys((*kind.hidden_dropout, *kind.attention_dropout), 0.0)
    model, _ = random_model(facts(name), kind, dtype, dropouts)
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            part.config._attn_implementation = attention
    enlarge(model)
    return model.requires_grad_(False).eval()


def adapter(bone: Backbone, format: str = "pair") -> Any:
    """The backbone in its role."""
    return adapt(bone, format, TASK)


def tokens(count: int, generator: torch.Generator) -> tuple[int, ...]:
    """Random bytes, none of them a special token."""
    return tuple(torch.randint(FIRST_BYTE, VOCABULARY, (count,), generator=generator).tolist())


def items(kind: str, lengths: tuple[int, ...], training: bool, seed: int = 0, targets: int = 4) -> list[Encoded]:
    """Encoded examples with sources of these lengths; targets vary in length too."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for index, length in enumerate(lengths):
        ids = tokens(length, generator)
        target = tokens(targets + index % 3, generator)
        types = tuple(int(place >= length // 2) for place in range(length))
        if kind == "encoder":
            made.append(Encoded(ids, length, token_types=types, label=index % 3))
        elif kind == "encoder_decoder":
            made.append(Encoded(ids, length, target_ids=target))
        elif training:
            labels = (IGNORE,) * length + target
            made.append(Encoded((*ids, *target), length, token_labels=labels))
        else:
            made.append(Encoded(ids, length))
    return made


def make_batch(
    bone: Backbone, lengths: tuple[int, ...], training: bool = True, rows: list[int] | None = None, seed: int = 0
) -> Batch:
    """A padded batch: on the left where a decoder generates, else on the right. RoBERTa has a single token type."""
    left = bone.spec.kind == "decoder" and not training
    made = items(bone.spec.kind, lengths, training, seed)
    if bone.family.name == "roberta":
        made = [replace(item, token_types=None) for item in made]
    return collate(made, pad_id=0, rows=rows, left=left)


def pick(batch: Batch, chosen: list[int]) -> Batch:
    """Some rows of a right-padded batch, cut to the longest of them."""
    length = int(batch.mask[chosen].sum(1).max())
    cut = {name: getattr(batch, name) for name in ("ids", "mask", "order", "token_types", "token_labels")}
    cut = {name: None if value is None else value[chosen, :length] for name, value in cut.items()}
    whole = {name: getattr(batch, name) for name in ("rows", "labels", "target_ids")}
    whole = {name: None if value is None else value[chosen] for name, value in whole.items()}
    return replace(batch, **cut, **whole, word_starts=())


def random_kv(
    spec: ModelSpec, length: int, trials: int = 1, sites: tuple[str, ...] = (), seed: int = 7
) -> dict[str, KeyValue]:
    """N(0, 1) keys and values [K, L, H, P, Dh] of each site, float64 leaves."""
    generator = torch.Generator().manual_seed(seed)

    def draw(site: str) -> Tensor:
        shape = (trials, spec.sites[site], spec.heads, length, spec.head_dim)
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    return {site: KeyValue(draw(site), draw(site)) for site in sites or tuple(spec.sites)}


def leaves(kv: Mapping[str, KeyValue]) -> list[Tensor]:
    """Keys and values of every site, in order."""
    return [tensor for site in kv for tensor in (kv[site].keys, kv[site].values)]


def random_head(spec: ModelSpec, outputs: int, trials: int = 1, seed: int = 8) -> Head | None:
    """A head for encoders, none for models that generate."""
    if spec.kind != "encoder":
        return None
    generator = torch.Generator().manual_seed(seed)
    weight = 0.2 * torch.randn(trials, outputs, spec.width, generator=generator, dtype=torch.float64)
    bias = torch.randn(trials, outputs, generator=generator, dtype=torch.float64)
    return Head(weight.requires_grad_(), bias.requires_grad_())


def random_embeds(spec: ModelSpec, length: int, trials: int = 1, seed: int = 9) -> Tensor:
    """N(0, 1) input-level prompt [K, P, D]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(trials, length, spec.width, generator=generator, dtype=torch.float64).requires_grad_()


OWN = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1]]).bool()
"""Which of four prompt rows are whose, where three trials have prompts of unlike lengths."""
PROMPTS = ("kv", *PLACEMENTS)


def prompts(spec: ModelSpec, trials: int = 1, own: Tensor | None = None, length: int = 4) -> dict[str, Injection]:
    """Every place a prompt can have: PROMPTS, `none`, and `kv at <site>`; encoders have a head of three outputs.

    Args:
        own: as `OWN`; None: all rows are.
    """
    head, shift = random_head(spec, 3, trials), length if own is None else own.sum(1)
    made = {place: Injection(random_embeds(spec, length, trials), place, own, head=head) for place in PLACEMENTS}
    for name, sites in {"kv": (), **{f"kv at {site}": (site,) for site in spec.sites}}.items():
        kv = {site: replace(one, mask=own) for site, one in random_kv(spec, length, trials, sites).items()}
        made[name] = Injection(kv=kv, position_shift=shift, head=head)
    return made | {"none": Injection(head=head)}


def trained_of(injection: Injection) -> list[Tensor]:
    """What is trained of an injection."""
    embeds = [] if injection.embeds is None else [injection.embeds]
    return [*leaves(injection.kv), *embeds, *([injection.head.weight, injection.head.bias] if injection.head else [])]


def trial_of(injection: Injection, trial: int) -> Injection:
    """One trial's share of an injection, with K = 1."""
    one = slice(trial, trial + 1)
    return replace(
        injection,
        embeds=None if injection.embeds is None else injection.embeds[one],
        kv={site: KeyValue(kv.keys[one], kv.values[one]) for site, kv in injection.kv.items()},
        head=injection.head and Head(injection.head.weight[one], injection.head.bias[one]),
    )


def build_double(method: Any, bone: Backbone, trials: int = 1, labels: tuple[str, ...] = ("yes", "no")) -> Any:
    """A method built for a backbone, its parameters turned to float64."""
    method.build(
        Context(
            spec=bone.spec,
            embeddings=bone.model.get_input_embeddings().weight.detach().float(),
            tokenize=lambda text: bone.tokenizer(text, add_special_tokens=False)["input_ids"],
            labels=labels,
            outputs=3 if bone.spec.kind == "encoder" else None,
            generators=[torch.Generator().manual_seed(trial) for trial in range(trials)],
        )
    )
    method.parameters = {name: t.detach().double().requires_grad_() for name, t in method.parameters.items()}
    return method


def last_hidden(model: Any, batch: Batch) -> list[Tensor]:
    """Every hidden state of the base model: of the encoder and the decoder where there are both."""
    inputs = {"input_ids": batch.ids, "attention_mask": batch.mask, "output_hidden_states": True}
    if batch.target_ids is not None:
        inputs["decoder_input_ids"] = batch.target_ids.clamp(min=0)
        out = model.base_model(**inputs, use_cache=False)
        return [*out.encoder_hidden_states, *out.decoder_hidden_states]
    if batch.token_types is not None:
        inputs["token_type_ids"] = batch.token_types
    return list(model.base_model(**inputs).hidden_states)


def generated_ids(adapted: Any, batch: Batch, injection: Injection, **decoding: Any) -> list[list[int]]:
    """The token ids that `predict` hands to the tokenizer, before they become text."""
    caught: list[list[int]] = []

    class Catch:
        def __getattr__(self, name: str) -> Any:
            return getattr(kept, name)

        def batch_decode(self, out: Tensor, **_: Any) -> list[str]:
            caught.extend(out.tolist())
            return ["" for _ in out]

    kept = adapted.backbone.tokenizer
    adapted.backbone.tokenizer = Catch()
    try:
        adapted.predict(batch, injection, {"beams": 1, "max_new_tokens": 5, **decoding})
    finally:
        adapted.backbone.tokenizer = kept
    return caught


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> None:
    """Equal within `tolerance`, absolute and relative, and not because both are nothing."""
    assert ours.shape == theirs.shape
    assert torch.isfinite(ours).all() and theirs.abs().max() > 1e-4
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
