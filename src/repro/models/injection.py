"""Keys and values in front of a model's own, inside attention: one mechanism for every family and every site.

transformers looks its attention function up by name. We register a function under `repro_sdpa` and `repro_eager` that
prepends a module's prefix, if it has one, and then calls the library's own function of that name. The prefix never
enters the key/value cache, the position ids or T5's relative bias, so `generate`, beam search and gradient
checkpointing need nothing special, and without a prefix the outputs are bit-equal to the plain model's.

The mask function must be registered under the same name: otherwise the model silently gets no mask at all.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

BASES = ("sdpa", "eager")
_SLOT = "repro_prefix"  # kept in the module's __dict__: invisible to state_dict, parameters() and deepcopy-free


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

    def expanded(self, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [batch, H, P, Dh]; a batch of N x beams rows repeats each row's prefix for its beams."""
        return self._expand(self.keys, batch, dtype), self._expand(self.values, batch, dtype)

    def _expand(self, prefix: Tensor, batch: int, dtype: torch.dtype) -> Tensor:
        if self.rows is None:
            prefix = prefix.expand(batch, -1, -1, -1)
        else:
            prefix = prefix[self.rows.repeat_interleave(batch // len(self.rows))]
        return F.dropout(prefix, self.dropout).to(dtype) if self.dropout else prefix.to(dtype)


def attach(module: nn.Module, prefix: Prefix | None) -> None:
    """Give an attention module a prefix, or none. It stays until the next call (a recomputed forward needs it too)."""
    module.__dict__[_SLOT] = prefix


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
    """softmax(q [Kp; k]^T) [Vp; v]: every query sees every prefix position; T5's bias is zero there."""
    function = _library_function(base, module)
    prefix: Prefix | None = module.__dict__.get(_SLOT)
    if prefix is None:
        return function(module, query, key, value, attention_mask, **kwargs)
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", False) if causal is None else causal
    if attention_mask is None and causal and query.shape[2] > 1:
        # A skipped mask means "causal", which torch aligns at the first key: it would hide the wrong keys once a prefix
        # stands in front.
        attention_mask = _causal_mask(query, key, as_bool=base == "sdpa")
    keys, values = prefix.expanded(key.shape[0], key.dtype)
    length = keys.shape[2]
    key, value = torch.cat([keys, key], 2), torch.cat([values, value], 2)
    if attention_mask is not None:
        attention_mask = F.pad(attention_mask, (length, 0), value=True if attention_mask.dtype == torch.bool else 0.0)
    if kwargs.get("position_bias") is not None:
        kwargs["position_bias"] = F.pad(kwargs["position_bias"], (length, 0))
    if base == "sdpa":
        kwargs["is_causal"] = False
    return function(module, query, key, value, attention_mask, **kwargs)


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
