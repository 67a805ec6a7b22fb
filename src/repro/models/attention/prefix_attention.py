"""Keys and values in front of a model's own, inside attention: one mechanism for every family and every site.

transformers looks its attention function up by name. We register a function under `repro_sdpa` and `repro_eager` that
prepends a module's prefix, if it has one, and then calls the library's own function of that name. The prefix never
enters the key/value cache, the position ids or T5's relative bias, so `generate`, beam search and gradient
checkpointing need nothing special, and without a prefix the outputs are bit-equal to the plain model's.

The mask function must be registered under the same name: otherwise the model silently gets no mask at all.
"""

from __future__ import annotations

import sys
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from repro.models.attention.attached import attached, drop_shares, seen_by, site_of
from repro.models.attention.packed_attention import AttentionFunction, AttentionOptions
from repro.models.attention.packed_attention import attend as attend_packed
from repro.models.attention.packing import Site

BASES = ("sdpa", "eager")


def _causal_mask(query: Tensor, key: Tensor, as_bool: bool) -> Tensor:
    """[1, 1, queries, keys] lower triangle, aligned at the last key (keys may include cached ones)."""
    queries, keys = query.shape[2], key.shape[2]
    allowed = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)[None, None]
    if as_bool:
        return allowed
    return torch.zeros_like(allowed, dtype=query.dtype).masked_fill(~allowed, torch.finfo(query.dtype).min)


def _library_function(base: str, module: nn.Module) -> AttentionFunction:
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
    **kwargs: Unpack[AttentionOptions],
) -> tuple[Tensor, Tensor | None]:
    """softmax(q [Kp; k]^T) [Vp; v]; where there is an infix, queries behind it see the keys and values it changed."""
    site = site_of(module)
    if site is not None:
        function = attend_dropping if kwargs.get("dropout") else _library_function(base, module)
        return attend_packed(function, module, query, key, value, site, attached(module), base, **kwargs)
    given = seen_by(module)
    infix = None if given is None else given.infix
    if infix is None:
        return _attend_prefix(base, module, query, key, value, attention_mask, **kwargs)
    changed, shares = _attend_prefix(base, module, query, *infix.added(key, value), attention_mask, **kwargs)
    behind = infix.behind(key.shape[0], query.shape[2], key.shape[2])
    if not bool(behind.all()):
        plain, shares = _attend_prefix(base, module, query, key, value, attention_mask, **kwargs)
        changed = torch.where(behind[:, :, None, None], changed, plain)
    return changed, shares


def attend_site(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, site: Site, **kwargs: Unpack[AttentionOptions]
) -> Tensor:
    """Attention of packed queries [1, H, M, Dh] over packed keys, behind the module's prefix: [1, M, H, Dh]."""
    base = str(vars(module)["config"]._attn_implementation).removeprefix("repro_")
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
    **kwargs: Unpack[AttentionOptions],
) -> tuple[Tensor, Tensor | None]:
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
        if (bias := kwargs.get("position_bias")) is not None:
            kwargs["position_bias"] = F.pad(bias, (length, 0))
        if base == "sdpa":
            kwargs["is_causal"] = False
    if drops:
        kwargs["prefix_length"] = length
        return attend_dropping(module, query, key, value, attention_mask, **kwargs)
    return _library_function(base, module)(module, query, key, value, attention_mask, **kwargs)


def attend_dropping(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    prefix_length: int = 0,
    rows: Tensor | None = None,
    **others: object,
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
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        **kwargs: Unpack[AttentionOptions],
    ) -> tuple[Tensor, Tensor | None]:
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
