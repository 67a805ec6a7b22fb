"""Dropout whose masks are a function of (trial, step, site, example, position, feature), not of a generator's state.

torch's dropout takes the next numbers of a generator, so a row's mask depends on what was drawn before it: on the other
trials of the pass, on padding, on micro-batches and on what ran before a restart. Here every element's random word is a
hash of its coordinates. Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3") call such generators
counter-based.

A key is an int64 that stands for some of the coordinates; `mixed` adds one more. The last axis is hashed inside
`keyed_dropout`, one 32-bit word an element.
"""

from __future__ import annotations

import zlib
from functools import cache

import torch
from torch import Tensor

_MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15, -0x61C8864680B583EB)
"""splitmix64's two, and its increment, as signed numbers."""
_WORD_MULTIPLIERS = (0x7FEB352D, 0x846CA68B - 2**32)
"""Of a 32-bit finaliser with low bias (Wellons, "Prospecting for hash functions")."""


def site_number(name: str) -> int:
    """A number for a place where dropout is drawn, from its name alone: the same in every process."""
    return zlib.crc32(name.encode())


def mixed(keys: Tensor, by: Tensor | int) -> Tensor:
    """Keys (int64) that depend on one more coordinate; both broadcast. splitmix64's finaliser."""
    spread = by * _MULTIPLIERS[0]
    if isinstance(spread, int):  # wraps, as tensors do
        spread = (spread + 2**63) % 2**64 - 2**63
    state = (keys + _MULTIPLIERS[2]) ^ spread
    state = (state ^ ((state >> 30) & (2**34 - 1))) * _MULTIPLIERS[0]
    state = (state ^ ((state >> 27) & (2**37 - 1))) * _MULTIPLIERS[1]
    return state ^ ((state >> 31) & (2**33 - 1))


@cache
def _feature_words(count: int, device: torch.device) -> Tensor:
    return _words(mixed(torch.zeros(1, dtype=torch.long, device=device), torch.arange(count, device=device)))


def _words(keys: Tensor) -> Tensor:
    """The lower halves of keys, int32."""
    return (keys & 0xFFFFFFFF).sub_(2**31).to(torch.int32)


def dropped(keys: Tensor, features: Tensor | int, rate: float | Tensor) -> Tensor:
    """Which elements are dropped: True with probability `rate`, [*keys.shape, F].

    Args:
        keys: int64, of everything but the last axis.
        features: F, or the coordinate (int64 [F]) of each place on the last axis.
        rate: a number, or a tensor that broadcasts to the result.
    """
    if isinstance(features, int):
        columns = _feature_words(features, keys.device)
    else:
        columns = _words(mixed(features.new_zeros(1), features))
    words = _words(keys)[..., None] ^ columns
    words.mul_(_WORD_MULTIPLIERS[0])
    words.bitwise_xor_((words >> 15).bitwise_and_(0x1FFFF))
    words.mul_(_WORD_MULTIPLIERS[1])
    if isinstance(rate, Tensor):
        return words < (rate.double() * 2**32 - 2**31).to(torch.int32)
    return words < round(rate * 2**32) - 2**31


def keyed_dropout(states: Tensor, rate: float | Tensor, keys: Tensor, features: Tensor | None = None) -> Tensor:
    """`states` [..., F] with elements dropped at `rate` and the others divided by 1 - rate; as `dropped`."""
    drop = dropped(keys, states.shape[-1] if features is None else features, rate)
    scale = 1 / (1 - rate)
    if isinstance(scale, Tensor):
        scale = scale.to(states.dtype)
    return (states * scale).masked_fill(drop, 0.0)
