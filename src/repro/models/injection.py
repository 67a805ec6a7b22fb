"""Keys and values in front of a model's own, inside attention: one mechanism for every family and every site.

transformers looks its attention function up by name. We register a function under `repro_sdpa` and `repro_eager` that
prepends a module's prefix, if it has one, and then calls the library's own function of that name. The prefix never
enters the key/value cache, the position ids or T5's relative bias, so `generate`, beam search and gradient
checkpointing need nothing special, and without a prefix the outputs are bit-equal to the plain model's.

The mask function must be registered under the same name: otherwise the model silently gets no mask at all.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from repro.models.packed_attention import attend as attend_packed
from repro.models.packing import Site

BASES = ("sdpa", "eager")
# Kept in the module's __dict__: invisible to state_dict and parameters().
_SLOT, _INFIX_SLOT, _SITE_SLOT = "repro_prefix", "repro_infix", "repro_site"


@dataclass
class Prefix:
    """What one attention module prepends: this layer's keys and values, and which trial each row of the batch takes."""

    keys: Tensor
    """[K, H, P, Dh]"""
    values: Tensor
    """[K, H, P, Dh]"""
    rows: Tensor | None
    """Trial index [N] of each row; None when K is 1."""
    dropout: float
    mask: Tensor | None = None
    """[K, P] True on a trial's own positions; None: all are."""

    def select(self, chosen: Tensor) -> Prefix:
        """The prefix for some rows [G] of the batch."""
        return self if self.rows is None else replace(self, rows=self.rows[chosen])

    def seen(self, batch: int) -> Tensor | None:
        """Which prefix positions each row may attend to [batch, 1, 1, P]; None: all."""
        if self.mask is None:
            return None
        rows = self.rows if self.rows is not None else self.mask.new_zeros(1, dtype=torch.long)
        return self.mask[rows.repeat_interleave(batch // len(rows))][:, None, None]

    def expanded(self, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [batch, H, P, Dh]; a batch of N x beams rows repeats each row's prefix for its beams."""
        return self._expand(self.keys, batch, dtype), self._expand(self.values, batch, dtype)

    def _expand(self, prefix: Tensor, batch: int, dtype: torch.dtype) -> Tensor:
        if self.rows is None:
            prefix = prefix.expand(batch, -1, -1, -1)
        else:
            prefix = prefix[self.rows.repeat_interleave(batch // len(self.rows))]
        return F.dropout(prefix, self.dropout).to(dtype) if self.dropout else prefix.to(dtype)


@dataclass
class Infix:
    """What is added to keys and values at some places of the sequence, for the queries behind those places only.

    Li and Liang's infix: [x, infix] is read by the plain model; the target is read with the infix's keys and values
    changed (liliang2021 section (a), "Infix").
    """

    keys: Tensor
    """[K, H, P, Dh]"""
    values: Tensor
    """[K, H, P, Dh]"""
    rows: Tensor | None
    places: Tensor
    """[N, P] columns of the keys, cached ones counted"""

    def added(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [batch, H, T, Dh] with the infix added at its places."""
        return self._add(key, self.keys), self._add(value, self.values)

    def _add(self, states: Tensor, delta: Tensor) -> Tensor:
        batch, heads, _, size = states.shape
        rows = self.rows if self.rows is not None else self.places.new_zeros(len(self.places))
        repeats = batch // len(rows)
        places = self.places.repeat_interleave(repeats, 0)[:, None, :, None].expand(-1, heads, -1, size)
        return states.scatter_add(2, places, delta[rows.repeat_interleave(repeats)].to(states.dtype))

    def behind(self, batch: int, queries: int, keys: int) -> Tensor:
        """Which queries stand behind the infix [batch, queries]."""
        last = self.places.max(1).values.repeat_interleave(batch // len(self.places))
        return torch.arange(keys - queries, keys, device=last.device)[None] > last[:, None]


def attach(module: nn.Module, prefix: Prefix | None, infix: Infix | None = None) -> None:
    """Give an attention module a prefix, or none. It stays until the next call (a recomputed forward needs it too)."""
    module.__dict__[_SLOT] = prefix
    module.__dict__[_INFIX_SLOT] = infix
    module.__dict__[_SITE_SLOT] = None


def attach_site(module: nn.Module, site: Site) -> None:
    """Let an attention module read packed sequences until the next `attach`."""
    module.__dict__[_SITE_SLOT] = site


def site_of(module: nn.Module) -> Site | None:
    """The packed sequences that an attention module reads now; None: it reads a padded batch."""
    return module.__dict__.get(_SITE_SLOT)


def attached(module: nn.Module) -> Prefix | None:
    """The prefix that `attach` gave."""
    return module.__dict__.get(_SLOT)


def _causal_mask(query: Tensor, key: Tensor, as_bool: bool) -> Tensor:
    """[1, 1, queries, keys] lower triangle, aligned at the last key (keys may include cached ones)."""
    queries, keys = query.shape[2], key.shape[2]
    allowed = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)[None, None]
    if as_bool:
        return allowed
    return torch.zeros_like(allowed, dtype=query.dtype).masked_fill(~allowed, torch.finfo(query.dtype).min)


def _library_function(base: str, module: nn.Module) -> Any:
    if base == "eager":  # every modelling file has its own
        return sys.modules[type(module).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS[base]


def _attend(
    base: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> Any:
    """softmax(q [Kp; k]^T) [Vp; v]; where there is an infix, queries behind it see the keys and values it changed."""
    site = site_of(module)
    if site is not None:
        function = _library_function(base, module)
        return attend_packed(function, module, query, key, value, site, attached(module), base, **kwargs)
    infix: Infix | None = module.__dict__.get(_INFIX_SLOT)
    if infix is None:
        return _attend_prefix(base, module, query, key, value, attention_mask, **kwargs)
    changed, *rest = _attend_prefix(base, module, query, *infix.added(key, value), attention_mask, **kwargs)
    behind = infix.behind(key.shape[0], query.shape[2], key.shape[2])
    if not bool(behind.all()):
        plain, *rest = _attend_prefix(base, module, query, key, value, attention_mask, **kwargs)
        changed = torch.where(behind[:, :, None, None], changed, plain)
    return changed, *rest


def attend_site(module: Any, query: Tensor, key: Tensor, value: Tensor, site: Site, **kwargs: Any) -> Tensor:
    """Attention of packed queries [1, H, M, Dh] over packed keys, behind the module's prefix: [1, M, H, Dh]."""
    base = str(module.config._attn_implementation).removeprefix("repro_")
    function = _library_function(base, module)
    out, _ = attend_packed(function, module, query, key, value, site, attached(module), base, **kwargs)
    return out


def _attend_prefix(
    base: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> Any:
    """softmax(q [Kp; k]^T) [Vp; v]: every query sees every prefix position; T5's bias is zero there."""
    function = _library_function(base, module)
    prefix = attached(module)
    if prefix is None:
        return function(module, query, key, value, attention_mask, **kwargs)
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", False) if causal is None else causal
    if attention_mask is None and causal and query.shape[2] > 1:
        # A skipped mask means "causal", which torch aligns at the first key: it would hide the wrong keys once a prefix
        # stands in front.
        attention_mask = _causal_mask(query, key, as_bool=base == "sdpa")
    keys, values = prefix.expanded(key.shape[0], key.dtype)
    length, seen = keys.shape[2], prefix.seen(key.shape[0])
    if attention_mask is None and seen is not None:
        shape = (key.shape[0], 1, query.shape[2], key.shape[2])
        attention_mask = query.new_ones(shape, dtype=torch.bool) if base == "sdpa" else query.new_zeros(shape)
    key, value = torch.cat([keys, key], 2), torch.cat([values, value], 2)
    if attention_mask is not None:
        attention_mask = _mask_with_prefix(attention_mask, length, seen)
    if kwargs.get("position_bias") is not None:
        kwargs["position_bias"] = F.pad(kwargs["position_bias"], (length, 0))
    if base == "sdpa":
        kwargs["is_causal"] = False
    return function(module, query, key, value, attention_mask, **kwargs)


def _mask_with_prefix(mask: Tensor, length: int, seen: Tensor | None) -> Tensor:
    """An attention mask [N or 1, 1, queries, keys], boolean or additive, with `length` prefix columns in front."""
    if seen is None:
        return F.pad(mask, (length, 0), value=True if mask.dtype == torch.bool else 0.0)
    seen = seen.expand(-1, -1, mask.shape[2], -1)
    if mask.dtype == torch.bool:
        front = seen
    else:
        front = torch.zeros_like(seen, dtype=mask.dtype).masked_fill(~seen, torch.finfo(mask.dtype).min)
    return torch.cat([front, mask.expand(len(seen), -1, -1, -1)], 3)


def _register(base: str) -> None:
    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Any:
        return _attend(base, module, query, key, value, mask, **kwargs)

    AttentionInterface.register(f"repro_{base}", attention)
    AttentionMaskInterface.register(f"repro_{base}", ALL_MASK_ATTENTION_FUNCTIONS[base])


for _base in BASES:
    _register(_base)


def use(model: nn.Module, base: str) -> None:
    """Let a loaded model attend through this module; each sub-model is set, as T5's stacks copy the config."""
    from transformers import PreTrainedModel

    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            part.config._attn_implementation = f"repro_{base}"
