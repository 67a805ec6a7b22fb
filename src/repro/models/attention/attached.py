"""What an attention module sees in a pass beside its own tokens: a prefix, an infix, packed sequences."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from repro.methods.parts.keyed_dropout import keyed_dropout, site_number
from repro.models.attention.keyed_dropout_sites import DropoutKeys
from repro.models.attention.packing import Site
from repro.models.threads import Own

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


def seen_by(module: nn.Module) -> Attached | None:
    slot: Own[Attached] | None = module.__dict__.get(_SLOT)
    return None if slot is None else slot.here


def site_of(module: nn.Module) -> Site | None:
    """The packed sequences that an attention module reads now; None: it reads a padded batch."""
    found = seen_by(module)
    return None if found is None else found.site


def draw_by(module: nn.Module, keys: DropoutKeys, place: str) -> None:
    """Let dropout on an attention module's probabilities find its masks in `keys`."""
    module.__dict__[_DRAWS_SLOT] = (keys, site_number(place))


def attached(module: nn.Module) -> Prefix | None:
    """The prefix that `attach` gave."""
    found = seen_by(module)
    return None if found is None else found.prefix


def drop_shares(module: nn.Module, shares: Tensor, rate: float, prefix: int, rows: Tensor | None = None) -> Tensor:
    """An attention module's probabilities [N, H, T, P + T] with some dropped, by the keys of the batch's `rows`."""
    draws: tuple[DropoutKeys, int] = module.__dict__[_DRAWS_SLOT]
    return draws[0].attention(shares, rate, draws[1], prefix, rows)
