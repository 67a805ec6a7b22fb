"""Attention over packed sequences in one kernel: torch's `varlen_attn` (flash attention), where a GPU has it.

It reads queries and keys [S, H, Dh] end to end, with the places where sequences begin, and so needs no padding at all.
It takes no bias (T5), no tree of labels and no dropout by keys: there, attention is padded (`packed_attention`).

Prefixes stand in front of each sequence's keys. A causal mask is then aligned at the last key, which is what the kernel
does; as that is a property of the kernel and not of its interface, each process compares it with plain attention once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.models.attention.attached import Prefix
from repro.models.attention.packing import Packed, Site, take

TOLERANCE = 0.05
"""Largest difference of a value or gradient of the kernel and of plain attention, inputs being standard normal."""


def kernel(*args: object, **options: object) -> Tensor:
    """torch's; imported late, as older versions do not have it."""
    from torch.nn.attention.varlen import varlen_attn

    return cast(Callable[..., Tensor], varlen_attn)(*args, **options)


def applies(query: Tensor, key: Tensor, site: Site, prefix: Prefix | None, base: str, dropout: float) -> bool:
    """Whether the kernel can serve a site: half precision on a GPU where it was found right, and nothing it lacks."""
    plain = base == "sdpa" and not dropout and site.bias is None and site.branches is None
    even = prefix is None or prefix.mask is None  # else prefixes of unlike lengths have masked places
    return plain and even and right(query.device, query.dtype, query.shape[1], key.shape[1], query.shape[3])


@cache
def right(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, size: int) -> bool:
    """Whether the device has the kernel for this precision and these heads, and it agrees with plain attention in both
    directions; warns if not."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    try:
        worst = max(difference(device, dtype, causal, heads, key_heads, size) for causal in (False, True))
    except (ImportError, RuntimeError, ValueError) as error:
        reason = first_line(error)
    else:
        if worst <= TOLERANCE:
            return True
        reason = f"it differs from plain attention by {worst:.3g}"
    warnings.warn(f"variable-length attention cannot be used here ({reason}): it is padded instead", stacklevel=2)
    return False


def first_line(error: BaseException) -> str:
    """What an error says, or is."""
    return (str(error) or type(error).__name__).splitlines()[0]


def difference(
    device: torch.device,
    dtype: torch.dtype,
    causal: bool,
    heads: int,
    key_heads: int,
    size: int,
    attend: Callable[..., Tensor] | None = None,
) -> float:
    """How far the kernel, and its gradients, are from plain attention in float32, at most: on two sequences with more
    keys than queries, as prefixes make them."""
    generator = torch.Generator().manual_seed(0)
    asked, read = (5, 3), (9, 4)
    shapes = (sum(asked), heads), (sum(read), key_heads), (sum(read), key_heads)
    given = [torch.randn(*shape, size, generator=generator).to(device, dtype).requires_grad_() for shape in shapes]
    begins = [starts(torch.tensor(lengths, device=device)) for lengths in (asked, read)]
    ours = (attend or kernel)(
        *(*given, *begins, max(asked), max(read)),
        window_size=(-1, 0) if causal else (-1, -1),
        enable_gqa=heads != key_heads,
    )
    query, key, value = (states.float() for states in given)
    theirs = _plain(query, key, value, asked, read, causal)
    weight = torch.randn(ours.shape, generator=generator).to(device)
    found, wanted = (
        [out, *torch.autograd.grad((out * weight).sum(), given, retain_graph=True)] for out in (ours.float(), theirs)
    )
    worst = [
        (one.detach().float() - other.detach().float()).abs().max() for one, other in zip(found, wanted, strict=True)
    ]
    return float(torch.stack(worst).max())


def _plain(
    query: Tensor, key: Tensor, value: Tensor, asked: tuple[int, ...], read: tuple[int, ...], causal: bool
) -> Tensor:
    """Softmax attention of sequences end to end, [U, H, Dh] over [S, heads, Dh] to [U, H, Dh]; a causal mask is aligned
    at the last key."""
    made = []
    for one, keys, values in zip(query.split(asked), key.split(read), value.split(read), strict=True):
        allowed = torch.ones(len(one), len(keys), dtype=torch.bool, device=query.device)
        mask = allowed.tril(len(keys) - len(one)) if causal else allowed
        q, k, v = (part.transpose(0, 1)[None] for part in (one, keys, values))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        made.append(out[0].transpose(0, 1))
    return torch.cat(made)


def starts(lengths: Tensor) -> Tensor:
    """Where sequences [N] begin and the last one ends [N + 1], int32."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(torch.int32)


def attention(
    query: Tensor, key: Tensor, value: Tensor, site: Site, prefix: Prefix | None, scale: float | None
) -> Tensor:
    """Queries [U, H, Dh] over keys [S, heads, Dh], each sequence's behind its trial's prefix: [U, H, Dh]."""
    asked, read = site.queries.counts, site.keys.counts
    most_asked, most_read = (_longest(one, site) for one in (site.queries, site.keys))
    begins, length = starts(read), 0
    if prefix is not None:
        rows = site.queries.owners
        fronts = prefix.select(rows).expanded(len(rows), key.dtype)  # N heads P Dh
        length = fronts[0].shape[2]
        places = behind(site.keys, length)
        key, value = (
            take(torch.cat([front.transpose(1, 2).flatten(0, 1), own]), places)
            for front, own in zip(fronts, (key, value), strict=True)
        )
        begins = begins + length * torch.arange(len(begins), device=begins.device, dtype=torch.int32)
    return kernel(
        *(query, key, value, starts(asked), begins, most_asked, most_read + length),
        scale=scale,
        window_size=(-1, 0) if site.causal else (-1, -1),
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _longest(packed: Packed, site: Site) -> int:
    """Tokens of the longest sequence, or of any that a fixed site may have."""
    return packed.width if site.fixed else max(packed.lengths)


def behind(keys: Packed, prefix: int) -> Tensor:
    """[N x prefix + S] which row of [prefixes of all sequences; keys] stands at each place where every sequence's keys
    come behind its prefix."""
    count, device = len(keys.counts), keys.sequence.device
    begins = keys.counts.cumsum(0) - keys.counts + prefix * torch.arange(count, device=device)
    tokens = torch.arange(len(keys.sequence), device=device)
    found = torch.empty(count * prefix + len(tokens), dtype=torch.long, device=device)
    found[tokens + prefix * (keys.sequence + 1)] = count * prefix + tokens
    fronts = (begins[:, None] + torch.arange(prefix, device=device)).flatten()
    found[fronts] = torch.arange(count * prefix, device=device)
    return found
