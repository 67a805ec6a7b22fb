"""A loaded, frozen model with its tokenizer, and where an injection enters it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from repro.methods.base import Head, Injection, ModelSpec
from repro.models.batch import Batch
from repro.models.encoding import Encode
from repro.models.families import Family
from repro.models.injection import Prefix, attach

PLACE_KEYS = {"before": -0.5, "after_bos": 0.5, "after": 1.5}
"""Where a prompt stands among the order keys of tokens (`models.batch`)."""


@dataclass(frozen=True)
class RowLoss:
    """Cross-entropy of each row, in nats: `total` [N] summed over its labels, `count` [N] how many there are."""

    total: Tensor
    count: Tensor


def spec_of(model: Mapping[str, Any]) -> ModelSpec:
    """The facts a method needs, from `conf/model/*.yaml` alone: no weights, no transformers."""
    layers, decoder_layers = model["layers"], model.get("decoder_layers") or model["layers"]
    sites = {
        "encoder": {"encoder": layers},
        "decoder": {"decoder": layers},
        "encoder_decoder": {"encoder": layers, "decoder": decoder_layers, "cross": decoder_layers},
    }[model["kind"]]
    return ModelSpec(
        kind=model["kind"],
        width=model["width"],
        heads=model.get("kv_heads") or model["heads"],
        head_dim=model["head_dim"],
        vocabulary=model["vocabulary"],
        sites=sites,
    )


class Backbone:
    """The frozen model. Owns no trainable tensor; `inject` sets what the next forward passes see."""

    def __init__(self, model: Any, tokenizer: Any, family: Family, spec: ModelSpec):
        self.model, self.tokenizer, self.family, self.spec = model, tokenizer, family, spec
        self.attention: Mapping[str, list[nn.Module]] = family.sites(model)
        self._shift = dict.fromkeys(spec.sites, 0)
        for position in family.positions(model):
            position.module.register_forward_pre_hook(self._shifter(position.site, position.argument), with_kwargs=True)

    def _shifter(self, site: str, argument: str | int) -> Any:
        """A hook that adds the site's shift to the position ids on their way to the table (or to the rotation)."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            shift = self._shift[site]
            if not shift:
                return None
            if isinstance(argument, int):
                return (*args[:argument], args[argument] + shift, *args[argument + 1 :]), kwargs
            return args, {**kwargs, argument: kwargs.get(argument, 0) + shift}

        return hook

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Storage type of the weights."""
        return self.model.get_input_embeddings().weight.dtype

    def inject(self, injection: Injection, rows: Tensor | None) -> None:
        """Attach keys and values to every layer of the injection's sites, and none to the others.

        Args:
            rows: trial index [N] of each row; None when every row takes trial 0.
        """
        for site, modules in self.attention.items():
            kv = injection.kv.get(site)
            self._shift[site] = injection.position_shift if kv is not None else 0
            for layer, module in enumerate(modules):
                prefix = kv and Prefix(kv.keys[:, layer], kv.values[:, layer], rows, injection.kv_dropout)
                attach(module, prefix or None)

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings [N, T, D], scaled as the family scales them."""
        return self.model.get_input_embeddings()(ids)


def rows_or_none(injection: Injection, batch: Batch) -> Tensor | None:
    """The batch's trial indices, or None where a single trial makes them needless."""
    trials = [kv.keys.shape[0] for kv in injection.kv.values()]
    trials += [injection.embeds.shape[0]] if injection.embeds is not None else []
    return batch.rows if max(trials, default=1) > 1 else None


@dataclass(frozen=True)
class Placed:
    """A sequence with its prompt: `embeds` [N, P + T, D], `mask` [N, P + T], `where` [N, T] places of real tokens."""

    embeds: Tensor
    mask: Tensor
    where: Tensor

    def spread(self, values: Tensor, fill: int) -> Tensor:
        """Per-token values [N, T] in the places of the longer sequence [N, P + T], `fill` at the prompt."""
        out = values.new_full(self.mask.shape, fill)
        return out.scatter(1, self.where, values)


def place(text: Tensor, batch: Batch, injection: Injection) -> Placed:
    """Put each row's prompt where the injection says: before the input, after its first token, or after the input.

    Tokens carry order keys; a stable sort with the prompt's key among them gives the sequence, wherever padding is.
    """
    assert injection.embeds is not None
    prompt = injection.embeds[batch.rows].to(text.dtype)  # N P D
    count = prompt.shape[1]
    keys = torch.cat([batch.order.new_full((len(prompt), count), PLACE_KEYS[injection.placement]), batch.order], 1)
    source = keys.argsort(dim=1, stable=True)  # N P+T: which of [prompt; tokens] stands at each place
    both = torch.cat([prompt, text], 1)
    mask = torch.cat([batch.mask.new_ones(len(prompt), count), batch.mask], 1)
    places = source.argsort(dim=1)  # the inverse permutation
    embeds = both.gather(1, source[..., None].expand(-1, -1, both.shape[2]))
    return Placed(embeds, mask.gather(1, source), places[:, count:])


def head_logits(features: Tensor, head: Head, rows: Tensor) -> Tensor:
    """Each row through its own trial's linear layer: [N, ..., D] -> [N, ..., C], in float32."""
    weight, bias = head.weight[rows], head.bias[rows]  # N C D, N C
    flat = features.to(weight.dtype).flatten(1, -2) if features.dim() > 2 else features.to(weight.dtype)[:, None]
    logits = torch.baddbmm(bias[:, None], flat, weight.mT)
    return logits.view(*features.shape[:-1], -1)


class ModelAdapter(Protocol):
    """A backbone in the role of one kind of model."""

    backbone: Backbone
    encode: Encode
    pad_left: bool
    """Evaluation batches are padded on the left (decoder-only generation)."""

    def losses(self, batch: Batch, injection: Injection) -> RowLoss:
        """Training loss of every row."""
        ...

    def predict(self, batch: Batch, injection: Injection, decoding: Mapping[str, Any]) -> Sequence[Any]:
        """One output an example: a class id, a list of tag ids, or a string."""
        ...
