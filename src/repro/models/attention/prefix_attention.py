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

from repro.methods.parts.keyed_dropout import keyed_dropout, site_number
from repro.models.attention.keyed_dropout_sites import DropoutKeys
from repro.models.attention.packed_attention import attend as attend_packed
from repro.models.attention.packing import Site
from repro.models.threads import Own

BASES = ("sdpa", "eager")
# Kept in the module's __dict__: invisible to state_dict and parameters().
_SLOT, _DRAWS_SLOT = "repro_attached", "repro_draws"


@dataclass
class Prefix:
    """What one attention module prepends: this layer's keys and values, and which trial each row of the batch takes."""

    keys: Tensor
    """[K, H, P, Dh]"""
    values: Tensor
    """[K, H, P, Dh]"""
    rows: Tensor | None
    """Trial index [N] of each row; None when K is 1."""
    dropout: float | Tensor = 0.0
    """A rate, or [K] where trials differ."""
    mask: Tensor | None = None
    """[K, P] True on a trial's own positions; None: all are."""
    draws: DropoutKeys | None = None
    """Whose keys dropout draws by."""
    site: int = 0
    """Number of the place, for dropout."""
    chosen: Tensor | None = None
    """[G] rows of the batch that this is for; None: all of them, in order."""

    def select(self, chosen: Tensor) -> Prefix:
        """The prefix for some rows [G] of the batch."""
        return replace(self, rows=None if self.rows is None else self.rows[chosen], chosen=chosen)

    def seen(self, batch: int) -> Tensor | None:
        """Which prefix positions each row may attend to [batch, 1, 1, P]; None: all."""
        if self.mask is None:
            return None
        rows = self.rows if self.rows is not None else self.mask.new_zeros(1, dtype=torch.long)
        return self.mask[rows.repeat_interleave(batch // len(rows))][:, None, None]

    def expanded(self, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [batch, H, P, Dh]; a batch of N x beams rows repeats each row's prefix for its beams."""
        return self._expand(self.keys, batch, dtype, 0), self._expand(self.values, batch, dtype, 1)

    def _expand(self, prefix: Tensor, batch: int, dtype: torch.dtype, which: int) -> Tensor:
        if self.rows is None:
            prefix = prefix.expand(batch, -1, -1, -1)
        else:
            prefix = prefix[self.rows.repeat_interleave(batch // len(self.rows))]
        if isinstance(self.dropout, Tensor) or self.dropout:
            assert self.draws is not None, "dropout needs keys"
            keys = self.draws.of_heads(prefix.shape[1], prefix.shape[2], self.site + which, self.chosen)
            prefix = keyed_dropout(prefix, self._rate(), keys)
        return prefix.to(dtype)

    def _rate(self) -> float | Tensor:
        """One rate, or [N, 1, 1, 1]."""
        if not isinstance(self.dropout, Tensor):
            return self.dropout
        return float(self.dropout[0]) if self.rows is None else self.dropout[self.rows][:, None, None, None]


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


@dataclass
class Attached:
    """What an attention module sees in this pass: each worker's own, as passes run side by side."""

    prefix: Prefix | None = None
    infix: Infix | None = None
    site: Site | None = None

    def give(self, prefix: Prefix | None, infix: Infix | None, site: Site | None) -> None:
        """All three at once."""
        self.prefix, self.infix, self.site = prefix, infix, site


def attach(module: nn.Module, prefix: Prefix | None, infix: Infix | None = None) -> None:
    """Give an attention module a prefix, or none. It stays until the next call (a recomputed forward needs it too)."""
    module.__dict__.setdefault(_SLOT, Own(Attached)).here.give(prefix, infix, None)


def attach_site(module: nn.Module, site: Site) -> None:
    """Let an attention module read packed sequences until the next `attach`."""
    module.__dict__[_SLOT].here.site = site


def _attached(module: nn.Module) -> Attached | None:
    slot: Own[Attached] | None = module.__dict__.get(_SLOT)
    return None if slot is None else slot.here


def site_of(module: nn.Module) -> Site | None:
    """The packed sequences that an attention module reads now; None: it reads a padded batch."""
    found = _attached(module)
    return None if found is None else found.site


def draw_by(module: nn.Module, keys: DropoutKeys, place: str) -> None:
    """Let dropout on an attention module's probabilities find its masks in `keys`."""
    module.__dict__[_DRAWS_SLOT] = (keys, site_number(place))


def attached(module: nn.Module) -> Prefix | None:
    """The prefix that `attach` gave."""
    found = _attached(module)
    return None if found is None else found.prefix


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
        function = attend_dropping if kwargs.get("dropout") else _library_function(base, module)
        return attend_packed(function, module, query, key, value, site, attached(module), base, **kwargs)
    given = _attached(module)
    infix = None if given is None else given.infix
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
    prefix = attached(module)
    drops = bool(kwargs.get("dropout"))
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", False) if causal is None else causal
    if attention_mask is None and causal and query.shape[2] > 1 and (prefix is not None or drops):
        # A skipped mask means "causal", which torch aligns at the first key: it would hide the wrong keys once a prefix
        # stands in front.
        attention_mask = _causal_mask(query, key, as_bool=base == "sdpa")
    length = 0
    if prefix is not None:
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
    if drops:
        return attend_dropping(module, query, key, value, attention_mask, prefix_length=length, **kwargs)
    return _library_function(base, module)(module, query, key, value, attention_mask, **kwargs)


def attend_dropping(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    prefix_length: int = 0,
    rows: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The library's eager attention, with dropout on the probabilities by keys: torch's fused one draws by itself.

    Query [N, H, T, Dh]; key and value with as many heads or fewer; returns [N, T, H, Dh].

    Args:
        prefix_length: P, of the keys in front.
        rows: [N] rows of the batch; None: all of them, in order.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        scores = scores + position_bias
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    shares = drop_shares(module, scores.softmax(-1), dropout, prefix_length, rows)
    return (shares @ value).transpose(1, 2).contiguous(), None


def drop_shares(module: nn.Module, shares: Tensor, rate: float, prefix: int, rows: Tensor | None = None) -> Tensor:
    """An attention module's probabilities [N, H, T, P + T] with some dropped, by the keys of the batch's `rows`."""
    draws: tuple[DropoutKeys, int] = module.__dict__[_DRAWS_SLOT]
    return draws[0].attention(shares, rate, draws[1], prefix, rows)


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
