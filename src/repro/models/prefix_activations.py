"""What a frozen decoder-only model itself computes for some words: keys and values at every layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from repro.errors import ConfigError
from repro.methods.base import Injection
from repro.models.backbone import Backbone


@torch.no_grad()
def activations(backbone: Backbone, ids: list[int]) -> Mapping[str, Tensor]:
    """{"decoder": [P, 2 x L x H x Dh]} of P token ids, laid out as `methods.reparameterisation.split_layers` reads it.

    Raises:
        ConfigError: the model has an encoder, where the official code has no such start (its issue 18).
    """
    if backbone.spec.kind != "decoder":
        raise ConfigError(
            "method.init_text: only decoder-only models can start from the activations of real words; the official "
            "code has no such start for BART. Set method.init_text=null."
        )
    backbone.inject(Injection(), None)
    cache = DynamicCache()
    backbone.model.base_model(torch.tensor([ids], device=backbone.device), past_key_values=cache, use_cache=True)
    per_layer = []
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
        per_layer.append(torch.stack([layer.keys[0], layer.values[0]]))  # 2 H P Dh
    return {"decoder": torch.stack(per_layer).permute(3, 0, 1, 2, 4).flatten(1)}  # P (L 2 H Dh)
