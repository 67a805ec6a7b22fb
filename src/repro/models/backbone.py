"""A loaded, frozen model with its tokenizer, and where an injection enters it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from repro.methods.base import Head, Injection, ModelSpec
from repro.methods.parts.keyed_dropout import site_number
from repro.models.attention.fused_ops import install
from repro.models.attention.keyed_dropout_sites import DropoutKeys, key_dropouts, key_functions
from repro.models.attention.packing import Site
from repro.models.attention.prefix_attention import Infix, Prefix, attach, attach_site, draw_by
from repro.models.bottleneck_adapters import Adapters
from repro.models.encoding.batch import Batch
from repro.models.encoding.encoding import Encode
from repro.models.families.family import Family, PositionModule
from repro.models.prompt_positions import Places
from repro.models.threads import Own


@dataclass(frozen=True)
class RowLoss:
    """Cross-entropy of each row, in nats: `total` [N] summed over its labels, `count` [N] how many there are."""

    total: Tensor
    count: Tensor


@dataclass
class _Places:
    """Position ids of a pass: each worker's own, as passes run side by side."""

    shift: dict[str, int | Tensor]
    """{stack: what is added to the ids of all rows, or of each [N, 1]}"""
    packed: dict[str, Tensor] = field(default_factory=dict)
    """{stack: position id of every token of a packed row [1, S]}; empty while batches are padded"""


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

    def __init__(self, model: Any, tokenizer: Any, family: Family, spec: ModelSpec, whole: Any = None):
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
        self._places = Own(lambda: _Places(dict.fromkeys(spec.sites, 0)))
        self.packing: bool | str = "auto"
        """`trainer.packing`: True, False or auto"""
        self.bias = family.bias(model)
        self._mode = install(model)
        self._positions = family.positions(model)
        self.takes_positions = any(position.offset is None for position in self._positions)
        for position in self._positions:
            position.module.register_forward_pre_hook(self._packed_shifter(position), with_kwargs=True)
            if position.offset is None:
                position.module.register_forward_pre_hook(self._shifter(position), with_kwargs=True)
            else:
                position.module.register_forward_hook(self._row_shifter(position), with_kwargs=True)

    def _packed_shifter(self, position: PositionModule) -> Any:
        """A hook that gives the module every packed token's own position id."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            ids = self._places.here.packed.get(position.site)
            if ids is None:
                return None
            if isinstance(position.argument, int):
                return (*args[: position.argument], ids, *args[position.argument + 1 :]), kwargs
            return args, {**kwargs, position.argument: ids if position.offset is None else ids[0]}

        return hook

    def key_dropouts(self) -> None:
        """Let every `nn.Dropout` of the model draw by `dropout`; again after modules were added (LoRA's)."""
        key_dropouts(self.whole, self.dropout, self.spec.kind)

    def _shifter(self, position: PositionModule) -> Any:
        """A hook that adds the site's shift to the position ids on their way to the table (or to the rotation)."""
        site, argument = position.site, position.argument

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            places = self._places.here
            shift: Any = places.shift[site]
            if (isinstance(shift, int) and not shift) or places.packed:
                return None
            if isinstance(shift, Tensor):
                given: Tensor = args[argument] if isinstance(argument, int) else kwargs[argument]
                if len(given) > len(shift):  # beams
                    shift = shift.repeat_interleave(len(given) // len(shift), 0)
            moved = (args[argument] if isinstance(argument, int) else kwargs[argument]) + shift
            if isinstance(shift, Tensor) and isinstance(module, nn.Embedding):
                moved = moved.clamp(max=module.num_embeddings - 1)  # padding beside a longer neighbour
            if isinstance(argument, int):
                return (*args[:argument], moved, *args[argument + 1 :]), kwargs
            return args, {**kwargs, argument: moved}

        return hook

    def _row_shifter(self, position: PositionModule) -> Any:
        """A hook that looks positions up anew, in tables that know one row of them or count by themselves (BART)."""

        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Any:
            here = self._places.here
            shift = here.shift[position.site]
            if (isinstance(shift, int) and not shift) or here.packed:
                return None
            ids = args[0]
            if isinstance(shift, Tensor):
                shift = shift.repeat_interleave(len(ids) // len(shift), 0)
            given = kwargs.get(str(position.argument))
            counted = torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
            plain = counted if given is None else given[None]
            places = plain + shift + (position.offset or 0)
            if isinstance(shift, Tensor):
                places = places.clamp(max=len(module.weight) - 1)  # as above
            return nn.functional.embedding(places, module.weight)

        return hook

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Storage type of the weights."""
        return self.model.get_input_embeddings().weight.dtype

    def inject(self, injection: Injection, rows: Tensor | None, infix_at: Tensor | None = None) -> None:
        """Attach keys and values to the layers of the injection's sites, and none to the others.

        Args:
            rows: trial index [N] of each row; None when every row takes trial 0.
            infix_at: columns [N, P] of the prompt in the sequence, where keys and values are added (infix).
        """
        given, places = self._adapters.now.here, self._places.here
        given.adapters, given.rows = injection.adapters, rows
        self._mode.here.packed, places.packed = False, {}
        self.dropout.unpack()
        for site, modules in self.attention.items():
            kv = injection.kv.get(site)
            places.shift[site] = _shift_of(injection, rows) if kv is not None else 0
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
        """Let the next forward passes, until the next `inject`, read packed sequences (`models.packer`)."""
        self._mode.here.packed, places = True, self._places.here
        for site, plan in sites.items():
            for module in self.attention[site]:
                attach_site(module, plan)
            if site != "cross":
                self.dropout.pack(site, plan.queries.token_owners, plan.queries.positions)
        for position in self._positions:
            packed, shift = sites[position.site].queries, places.shift[position.site]
            each = shift[packed.token_owners, 0] if isinstance(shift, Tensor) else shift
            places.packed[position.site] = (packed.positions + position.first + each)[None]

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
        return self.model.get_input_embeddings()(ids)


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


@cache
def constant(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Numbers on a device, copied there once."""
    return torch.tensor(values, device=device)


def head_logits(features: Tensor, head: Head, rows: Tensor) -> Tensor:
    """Each row through its own trial's linear layer: [N, ..., D] -> [N, ..., C], in float32."""
    weight, bias = head.weight[rows], head.bias[rows]  # N C D, N C
    flat = features.to(weight.dtype).flatten(1, -2) if features.dim() > 2 else features.to(weight.dtype)[:, None]
    logits = torch.baddbmm(bias[:, None], flat, weight.mT)
    if head.classes is not None:
        own = constant(head.classes, rows.device)[rows][:, None, None]
        logits = logits.masked_fill(torch.arange(logits.shape[2], device=rows.device) >= own, float("-inf"))
    return logits.view(*features.shape[:-1], -1)


def within_spans(logits: Tensor, spans: Tensor | None) -> Tensor:
    """Logits [N, ..., C] with the classes of other data sets than the row's own at -infinity; `spans` [N, 2]."""
    if spans is None:
        return logits
    shape = (-1, *[1] * (logits.dim() - 1))
    classes = torch.arange(logits.shape[-1], device=logits.device)
    outside = (classes < spans[:, 0].view(shape)) | (classes >= spans[:, 1].view(shape))
    return logits.masked_fill(outside, float("-inf"))


@dataclass(frozen=True)
class LabelPlaces:
    """Where packed sequences say their labels."""

    said_at: Tensor
    """[M] place in the row of tokens of the state that says each label"""
    ids: Tensor
    """[M]"""
    rows: Tensor
    """[M] row of the batch"""
    count: Tensor
    """[N] labels of each row"""


@dataclass(frozen=True)
class Reading:
    """How a pass reads a batch: everything about it that depends on the values of tensors, and so must be known to the
    host. For training it is made on the CPU; on a GPU, while that still works on the step before.

    A fixed reading has only shapes that all batches have whose tensors have the same shapes (`training.graphs`).
    """

    batch: Batch
    places: Places | None = None
    """Of the prompt; None without one at the input."""
    sites: Mapping[str, Site] | None = None
    """None: the batch is read as a padded rectangle."""
    labels: LabelPlaces | None = None
    """Generating models, packed."""

    @property
    def mask(self) -> Tensor:
        """[N, T] 1 on real tokens and on the prompt"""
        return self.batch.mask if self.places is None else self.places.mask


class ModelAdapter(Protocol):
    """A backbone in the role of one kind of model."""

    backbone: Backbone
    encode: Encode
    pad_left: bool
    """Evaluation batches are padded on the left (decoder-only generation)."""

    def reading(self, batch: Batch, injection: Injection, fixed: bool = False) -> Reading:
        """How a training pass over the batch reads it; `fixed` as in `Reading`."""
        ...

    def losses(
        self, batch: Batch, injection: Injection, z_loss: float = 0.0, reading: Reading | None = None
    ) -> RowLoss:
        """Training loss of every row; models that generate can add a z-loss (`generation.label_losses`).

        Args:
            reading: made before, of the same batch; nothing is then looked up in the values of a tensor.
        """
        ...

    def predict(self, batch: Batch, injection: Injection, decoding: Mapping[str, Any]) -> Sequence[Any]:
        """One output an example: a class id, a list of tag ids, or a string."""
        ...
