"""A loaded, frozen model with its tokenizer, and where an injection enters it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from repro.config.schema import ModelConfig
from repro.methods.base import Injection, ModelSpec
from repro.methods.facts import sites_of
from repro.methods.parts.keyed_dropout import site_number
from repro.models.attention.attached import Infix, Prefix, attach, attach_site, draw_by
from repro.models.attention.fused_ops import install
from repro.models.attention.keyed_dropout_sites import DropoutKeys, key_dropouts, key_functions
from repro.models.attention.packing import Site
from repro.models.bottleneck_adapters import Adapters
from repro.models.encoding.batch import Batch
from repro.models.families.family import Family
from repro.models.position_shifts import PositionShifts


def spec_of(model: ModelConfig) -> ModelSpec:
    """The facts a method needs, from `conf/model/*.yaml` alone: no weights, no transformers."""
    heads = model.kv_heads or model.heads
    return ModelSpec(model.kind, model.width, heads, model.head_dim, model.vocabulary, sites_of(model))


def token_table(model: PreTrainedModel) -> nn.Embedding:
    """The input embeddings [V, D]."""
    return cast(nn.Embedding, model.get_input_embeddings())


class Backbone:
    """The frozen model. Owns no trainable tensor; `inject` sets what the next forward passes see."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        family: Family,
        spec: ModelSpec,
        whole: PreTrainedModel | None = None,
    ):
        self.model, self.tokenizer, self.family, self.spec = model, tokenizer, family, spec
        self.whole = model if whole is None else whole
        """`model`, or the model with its language-model head around it (an encoder in the cloze format)."""
        self.lm_head = None if whole is None else family.lm_head(whole) if family.lm_head else None
        self.attention: Mapping[str, list[nn.Module]] = family.sites(model)
        self.dropout = DropoutKeys()
        """Where all dropout of a pass finds its masks: the loop fills it before a pass in train mode."""
        key_functions(family.functional_dropout(model), self.dropout, spec.kind)
        self.key_dropouts()
        for site, modules in self.attention.items():
            for layer, module in enumerate(modules):
                draw_by(module, self.dropout, f"{site}.{layer}.attention")
        self._adapters = Adapters(family.blocks(model))
        self.packing: bool | str = "auto"
        """`trainer.packing`: True, False or auto"""
        self.recomputes = False
        """Activations are computed again in the backward pass (`recompute`)."""
        self.bias = family.bias(model)
        self._mode = install(model)
        self._positions = PositionShifts(family.positions(model), tuple(spec.sites))
        self.takes_positions = self._positions.given
        """Whether the model is given position ids."""

    def key_dropouts(self) -> None:
        """Let every `nn.Dropout` of the model draw by `dropout`; again after modules were added (LoRA's)."""
        key_dropouts(self.whole, self.dropout, self.spec.kind)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return token_table(self.model).weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Storage type of the weights."""
        return token_table(self.model).weight.dtype

    def inject(self, injection: Injection, rows: Tensor | None, infix_at: Tensor | None = None) -> None:
        """Attach keys and values to the layers of the injection's sites, and none to the others.

        Args:
            rows: trial index [N] of each row; None when every row takes trial 0.
            infix_at: columns [N, P] of the prompt in the sequence, where keys and values are added (infix).
        """
        adapters = self._adapters.now.here
        adapters.adapters, adapters.rows = injection.adapters, rows
        self._mode.here.packed = False
        self.dropout.unpack()
        attended = {site: injection.kv.get(site) is not None for site in self.attention}
        shift = _shift_of(injection, rows)
        self._positions.shift({site: shift if has_prefix else 0 for site, has_prefix in attended.items()})
        for site, modules in self.attention.items():
            kv = injection.kv.get(site)
            chosen = range(len(modules)) if kv is None or kv.layers is None else kv.layers
            index = {layer: place for place, layer in enumerate(chosen)}
            # Taken apart once: slicing layer by layer would make a gradient of the whole for each.
            keys, values = (kv.keys.unbind(1), kv.values.unbind(1)) if kv is not None else ((), ())
            for layer, module in enumerate(modules):
                prefix = infix = None
                if kv is not None and layer in index:
                    at = index[layer]
                    place = site_number(f"{site}.{layer}.prefix")
                    own = keys[at], values[at]
                    prefix = Prefix(*own, rows, injection.kv_dropout, kv.mask, self.dropout, place)
                if injection.infix is not None and infix_at is not None:
                    infix = Infix(injection.infix.keys[:, layer], injection.infix.values[:, layer], rows, infix_at)
                attach(module, prefix, infix)

    def pack(self, sites: Mapping[str, Site]) -> None:
        """Let the next forward passes, until the next `inject`, read packed sequences (`models.packed_batch`)."""
        self._mode.here.packed = True
        for site, plan in sites.items():
            for module in self.attention[site]:
                attach_site(module, plan)
            if site != "cross":
                self.dropout.pack(site, plan.queries.token_owners, plan.queries.positions)
        self._positions.pack({site: plan.queries for site, plan in sites.items()})

    @cached_property
    def weights(self) -> dict[str, int]:
        """{stack: weights of its blocks}"""
        stacks = self.family.blocks(self.model)
        return {name: sum(p.numel() for block in blocks for p in block.parameters()) for name, blocks in stacks.items()}

    @cached_property
    def query_width(self) -> int:
        """Query heads times the head size."""
        config = self.model.config
        return int(config.num_attention_heads) * self.spec.head_dim

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings [N, T, D], scaled as the family scales them."""
        vectors: Tensor = self.model.get_input_embeddings()(ids)
        return vectors


def _shift_of(injection: Injection, rows: Tensor | None) -> int | Tensor:
    """The position shift of the whole batch, or of each row [N, 1]."""
    shift = injection.position_shift
    if isinstance(shift, int):
        return shift
    return int(shift[0]) if rows is None else shift[rows][:, None]


def rows_or_none(injection: Injection, batch: Batch) -> Tensor | None:
    """The batch's trial indices, or None where a single trial makes them needless."""
    trials = [kv.keys.shape[0] for kv in injection.kv.values()]
    trials += [injection.embeds.shape[0]] if injection.embeds is not None else []
    trials += [adapter.down.shape[0] for adapter in injection.adapters.values()]
    return batch.rows if max(trials, default=1) > 1 else None


def recompute(backbone: Backbone) -> None:
    """Keep no activations but compute them twice (in train mode only): less memory, the same gradient."""
    with warnings.catch_warnings():  # 5.24 warns of the only name that all supported releases have
        warnings.simplefilter("ignore", FutureWarning)
        backbone.model.gradient_checkpointing_enable({"use_reentrant": False})
    backbone.recomputes = True
