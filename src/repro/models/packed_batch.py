"""Whether a batch is read as packed sequences or as a padded rectangle, and what a packed model is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.models.attention.packing import CALL, CALL_ON_GPU, Packed, Site, by_length
from repro.models.backbone import Backbone
from repro.models.encoding.batch import Batch

RATE = 5e10
"""FLOP/s of a CPU core's matrix products, for the choice below."""
SITE_SECONDS = 3e-4
"""What cutting and joining sequences costs at one attention module (forward and backward) on a CPU core."""
LEANER = 0.03
"""Share of a step that the leaner norms and activations save where there is no padding."""


def packs(
    backbone: Backbone, batch: Batch, injection: Injection, masks: Mapping[str, Tensor], fixed: bool = False
) -> bool:
    """Whether the batch is packed: `trainer.packing` says never, wherever it can be, or (auto) where that is quicker.

    It cannot be where attention is the family's own, where an infix counts columns, where several trials have
    bottleneck adapters, where padding is on the left (generation), and behind a sliding window.

    Args:
        masks: {stack: [N, T] 1 on real tokens}, prompts counted.
        fixed: what `auto` chooses does not count.
    """
    if backbone.packing is False or not backbone.family.packs or batch.left:
        return False
    if injection.infix is not None or any(len(one.down) > 1 for one in injection.adapters.values()):
        return False
    window = getattr(backbone.model.config, "sliding_window", None)
    if window is not None and max(mask.shape[1] for mask in masks.values()) > window:
        return False
    if any(not bool(mask.any(1).all()) for mask in masks.values()):
        return False
    return fixed or backbone.packing is True or _quicker(backbone, masks)


def _quicker(backbone: Backbone, masks: Mapping[str, Tensor]) -> bool:
    """Whether the matrix products on padding take longer than cutting sequences up in every layer."""
    saved, modules = 0.0, sum(len(site) for site in backbone.attention.values())
    for stack, mask in masks.items():
        padded, real = mask.numel(), int(mask.sum())
        saved += 4 * backbone.weights[stack] * (padded - real + LEANER * real)
    return saved / RATE > SITE_SECONDS * modules


def site_between(backbone: Backbone, queries: Packed, keys: Packed, **options: Any) -> Site:
    """A site of the backbone, for the device where it is; `options` as `Site` has them."""
    call = CALL_ON_GPU if backbone.device.type == "cuda" else CALL
    return Site(queries, keys, **{"causal": False, "width": backbone.query_width, "call": call} | options)


def sites_of(backbone: Backbone, masks: Mapping[str, Tensor], fixed: bool = False) -> dict[str, Site]:
    """{site: how its attention reads the sequences that the masks [N, T] of the stacks show}; `fixed` as in `Site`."""
    order = by_length(*masks.values())
    packed = {stack: Packed(mask, order) for stack, mask in masks.items()}
    sites = {
        stack: site_between(backbone, one, one, causal=stack == "decoder", bias=backbone.bias.get(stack), fixed=fixed)
        for stack, one in packed.items()
    }
    if len(packed) == 2:
        sites["cross"] = cross_site(backbone, packed["decoder"], packed["encoder"], fixed)
    return sites


def cross_site(backbone: Backbone, queries: Packed, keys: Packed, fixed: bool = False) -> Site:
    """How targets read sources."""
    absorbs = backbone.family.absorbs
    if absorbs is None or not absorbs(backbone.attention["cross"][0], queries, keys):
        return site_between(backbone, queries, keys, fixed=fixed)
    width = backbone.spec.width * backbone.spec.heads
    return site_between(backbone, queries, keys, width=width, absorbed=True, fixed=fixed)


def inputs_of(backbone: Backbone, packed: Packed, **padded: Tensor | None) -> dict[str, Tensor]:
    """What a stack is called with: each [N, T, ...] as [1, S, ...], and a mask that keeps the library from making one.

    The library takes a mask of four dimensions for ready and hands it on to attention, which has the site's instead.
    """
    given: dict[str, Tensor] = {name: packed.pack(value) for name, value in padded.items() if value is not None}
    given["attention_mask"] = no_mask(packed)
    if backbone.takes_positions:
        given["position_ids"] = packed.positions[None]
    return given


def no_mask(packed: Packed) -> Tensor:
    """A mask [1, 1, 1, 1] that nobody reads."""
    return torch.zeros(1, 1, 1, 1, device=packed.rows.device)


def read_packed(
    backbone: Backbone, sites: Mapping[str, Site], inputs: Mapping[str, Tensor], decoder_ids: Tensor
) -> Tensor:
    """An encoder-decoder's last states [1, S, D] of the targets' real tokens, both stacks packed.

    Args:
        inputs: what the encoder reads, padded.
        decoder_ids: what the decoder reads, padded.
    """
    backbone.pack(sites)
    sources, asked = sites["encoder"].queries, sites["decoder"].queries
    memory = backbone.model.get_encoder()(**inputs_of(backbone, sources, **inputs)).last_hidden_state
    states: Tensor = backbone.model.get_decoder()(
        **inputs_of(backbone, asked, input_ids=decoder_ids),
        encoder_hidden_states=memory,
        encoder_attention_mask=no_mask(sources),
        use_cache=False,
    ).last_hidden_state
    return states
