"""Sequences end to end: one row of real tokens in place of a padded rectangle, and how attention cuts it up again.

Everything but attention works token by token, so a batch can be one row [1, S, D] of its S real tokens: no matrix
product, norm or activation is spent on padding. Attention looks at each sequence by itself, sequences of one length in
one call. It is the same batch: the same examples, loss and gradient up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from repro.models.attention.autograd import Context

CALL = 3e5
"""What one more call of attention costs (forward and backward, with its slices and copies), in multiplications of a
query by a key, as it was measured on a CPU core: about 0.1 ms at about 3e9 a second."""
CALL_ON_GPU = 1e9
"""The same on a GPU, where a kernel of this size costs its launch: a batch is cut into very few calls."""


class _Spread(torch.autograd.Function):
    """Rows [S, ...] into places of [M, ...], zeros elsewhere; the gradient is a plain look-up."""

    @staticmethod
    def forward(ctx: Context, rows: Tensor, places: Tensor, total: int) -> Tensor:
        ctx.save_for_backward(places)
        return rows.new_zeros(total, *rows.shape[1:]).index_copy_(0, places, rows)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return gradients[0].index_select(0, places), None, None


class _Take(torch.autograd.Function):
    """The inverse: [M, ...] at distinct places to [S, ...]; so the gradient needs no sums, as `index_select`'s does."""

    @staticmethod
    def forward(ctx: Context, padded: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.total = len(padded)
        return padded.index_select(0, places)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        gradient = gradients[0]
        return gradient.new_zeros(ctx.total, *gradient.shape[1:]).index_copy_(0, places, gradient), None


def spread(rows: Tensor, places: Tensor, total: int) -> Tensor:
    """[S, ...] to [total, ...] with row i at `places[i]`, all different, and zeros elsewhere."""
    out: Tensor = _Spread.apply(rows, places, total)
    return out


def take(padded: Tensor, places: Tensor) -> Tensor:
    """[M, ...] to [S, ...]: the rows at `places`, all different."""
    out: Tensor = _Take.apply(padded, places)
    return out


class Packed:
    """Where the real tokens of a padded rectangle [N, T] stand in one row of S tokens, sequence behind sequence.

    Args:
        mask: [N, T] 1 on real tokens.
        order: rows of the rectangle in the order of their sequences.
        share: rows of the rectangle that are one row of the batch (the labels of an example).
    """

    def __init__(self, mask: Tensor, order: Tensor, share: int = 1):
        chosen = mask.bool()[order]
        sequence, place = chosen.nonzero(as_tuple=True)
        self.shape = mask.shape
        self.width = int(mask.shape[1])
        """Of the rectangle; what a fixed call is as wide as."""
        self.order = order
        """[N] row of the rectangle that each sequence is"""
        self.owners = order // share
        """[N] row of the batch that each sequence is of"""
        self.counts = chosen.sum(1)
        """[N] tokens of each sequence"""
        self.lengths: tuple[int, ...] = tuple(self.counts.tolist())
        self.sequence = sequence
        """[S] sequence that each token is of"""
        self.rows = order[sequence]
        """[S] row of the rectangle that each token is of"""
        self.token_owners = self.owners[sequence]
        """[S] row of the batch that each token is of"""
        self.places = self.rows * mask.shape[1] + place
        """[S] place of each token in the flattened rectangle"""
        self.positions = (chosen.cumsum(1) - 1)[sequence, place]
        """[S] place of each token in its sequence, from 0"""

    def places_in(self, whole: Packed) -> Tensor:
        """[S] place of each of these tokens in the packed row of all tokens of the same sequences."""
        at = torch.empty(self.shape[0] * self.shape[1], dtype=torch.long, device=self.places.device)
        at[whole.places] = torch.arange(len(whole.places), device=at.device)
        return at[self.places]

    def pack(self, padded: Tensor) -> Tensor:
        """[N, T, ...] to [1, S, ...]"""
        return take(padded.flatten(0, 1), self.places)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """[1, S, ...] to [N, T, ...], zeros on padding."""
        return spread(packed[0], self.places, self.shape[0] * self.shape[1]).unflatten(0, self.shape)


def by_length(*masks: Tensor) -> Tensor:
    """The rows of one or several rectangles [N, T] in the order of their lengths, the first rectangle's first."""
    order = torch.arange(len(masks[0]), device=masks[0].device)
    for mask in reversed(masks):
        order = order[mask.sum(1)[order].argsort(stable=True)]
    return order


@dataclass(frozen=True)
class Side:
    """One group's share of the queries, or of the keys."""

    tokens: int
    """Real tokens."""
    length: int
    """Of the longest sequence."""
    lengths: Tensor
    """[G]"""
    places: Tensor | None
    """[tokens] place of each real token in [G x length]; None where all sequences are equally long."""

    def cut(self, piece: Tensor) -> Tensor:
        """A group's tokens [tokens, H, Dh] as [G, H, length, Dh]."""
        padded = piece if self.places is None else spread(piece, self.places, len(self.lengths) * self.length)
        return padded.unflatten(0, (len(self.lengths), self.length)).transpose(1, 2)

    def join(self, out: Tensor) -> Tensor:
        """Attention's output [G, length, H, Dh] as [tokens, H, Dh]."""
        flat = out.flatten(0, 1)
        return flat if self.places is None else take(flat, self.places)

    def valid(self) -> Tensor | None:
        """[G, 1, 1, length] True on real keys; None: all are."""
        if self.places is None:
            return None
        return (torch.arange(self.length, device=self.lengths.device) < self.lengths[:, None])[:, None, None]


@dataclass(frozen=True)
class Group:
    """Sequences next to each other that one call of attention serves."""

    queries: Side
    keys: Side
    rows: Tensor
    """[G] rows of the batch"""


def _side(lengths: Sequence[int], device: torch.device, width: int | None = None) -> Side:
    """Of some sequences; `width` stands for the longest's length, and there are places even if there is no padding."""
    longest, total = width or max(lengths), sum(lengths)
    counts = torch.tensor(lengths, device=device)
    places = None
    if width or total != longest * len(lengths):
        real = torch.arange(longest, device=device) < counts[:, None]
        places = real.flatten().nonzero()[:, 0]
    return Side(total, longest, counts, places)


def runs(queries: Sequence[int], keys: Sequence[int], width: int, call: float) -> list[tuple[int, int]]:
    """Which neighbours share a call, as (first, one past the last): those whose padding costs less than another call.

    Args:
        queries, keys: lengths of each sequence.
        width: H x Dh, multiplications for one query and key.
        call: cost of a call, in multiplications.
    """
    found: list[tuple[int, int]] = []
    first, most_queries, most_keys = 0, queries[0], keys[0]
    for index in range(1, len(queries) + 1):
        if index < len(queries):
            wider_queries, wider_keys = max(most_queries, queries[index]), max(most_keys, keys[index])
            count = index - first
            apart = count * most_queries * most_keys + queries[index] * keys[index]
            if ((count + 1) * wider_queries * wider_keys - apart) * width <= call:
                most_queries, most_keys = wider_queries, wider_keys
                continue
        found.append((first, index))
        if index < len(queries):
            first, most_queries, most_keys = index, queries[index], keys[index]
    return found


class Site:
    """How the attention modules of one site read packed sequences: in which calls, and under which masks.

    Args:
        queries, keys: the sequences on both sides, in one order (in self-attention the same object).
        causal: a query sees keys up to its own place.
        width: H x Dh of the queries.
        bias: length T to what is added to every score [1, H, T, T] (T5's relative positions).
        absorbed: cross-attention reads the memory itself, not keys and values made of it (`t5_attention`).
        call: what one more call of attention costs, in multiplications of a query by a key.
        fixed: one call for all sequences, as wide as the rectangles they come from: its shapes are those of every batch
            of as many rows and tokens in rectangles of that width (`training.graphs`).
        branches: [S] of each token 0, or the branch of a tree it is on: branches see the trunk, not each other.
    """

    def __init__(
        self,
        queries: Packed,
        keys: Packed,
        causal: bool,
        width: int,
        bias: Callable[[int, torch.dtype], Tensor] | None = None,
        absorbed: bool = False,
        branches: Tensor | None = None,
        call: float = CALL,
        fixed: bool = False,
    ):
        self.queries, self.keys, self.causal, self.width = queries, keys, causal, width
        self.bias, self.absorbed, self.branches = bias, absorbed, branches
        self.call, self.fixed = call, fixed
        self.read: Packed | None = None
        """Self-attention that is not causal: the tokens whose last states are read, where it is not all of them."""
        self._masks: dict[tuple[int, int, bool, torch.dtype], Tensor | None] = {}

    @cached_property
    def of_read(self) -> Site:
        """How the read tokens look at all of them, in the last layer."""
        assert self.read is not None and not self.causal and self.bias is None
        return Site(self.read, self.keys, causal=False, width=self.width, call=self.call, fixed=self.fixed)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The calls of attention, in the order of the sequences."""
        device = self.queries.order.device
        if self.fixed:
            asked, read = (_side(one.lengths, device, one.width) for one in (self.queries, self.keys))
            return (Group(asked, read, self.queries.owners),)
        return tuple(
            Group(
                _side(self.queries.lengths[first:end], device),
                _side(self.keys.lengths[first:end], device),
                self.queries.owners[first:end],
            )
            for first, end in runs(self.queries.lengths, self.keys.lengths, self.width, self.call)
        )

    def lay_out(self) -> None:
        """Before a pass: compute now what depends on values of tensors, so that nothing will once they are on a GPU;
        masks that a pass before has made are forgotten."""
        self._masks.clear()
        _ = self.groups, self.query_tokens, self.key_tokens  # kept once they were asked for
        if self.read is not None:
            self.of_read.lay_out()

    @cached_property
    def query_tokens(self) -> list[int]:
        """Real queries of each group."""
        return [group.queries.tokens for group in self.groups]

    @cached_property
    def key_tokens(self) -> list[int]:
        """Real keys of each group."""
        return [group.keys.tokens for group in self.groups]

    def mask(self, index: int, prefix: int, seen: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """What group `index` adds to its scores [G or 1, H or 1, queries, prefix + keys]; None: nothing.

        Args:
            prefix: columns in front of the keys; every query sees them, and no bias is added there.
            seen: [G, 1, 1, prefix] True where a row has the column; None: all have.
        """
        name = (index, prefix, seen is None, dtype)  # one batch has one prefix length, and one mask, a site
        if name in self._masks:
            return self._masks[name]
        made = self._mask(index, prefix, seen, dtype)
        if made is None or not made.requires_grad:  # else T5's table is tuned: each layer gets a graph of its own
            self._masks[name] = made
        return made

    @property
    def tuned_bias(self) -> bool:
        """Whether the bias has a gradient."""
        return self.bias is not None and self.bias(1, torch.float32).requires_grad

    @property
    def plainly_causal(self) -> bool:
        """Whether the kernels' own causal switch says all there is to say, where nothing stands in front."""
        return self.causal and self.bias is None and self.branches is None

    def _allowed(self, index: int) -> Tensor | None:
        """[G or 1, 1, queries or 1, keys] True where group `index` may look; None: everywhere."""
        group = self.groups[index]
        queries, keys = group.queries.length, group.keys.length
        if not self.causal:
            return group.keys.valid()
        if queries == 1:
            return None
        # Padding stands behind all real tokens, so that it is hidden too.
        lower = torch.ones(queries, keys, dtype=torch.bool, device=group.rows.device).tril()[None, None]
        if self.branches is None:
            return lower
        own = group.keys.cut(self.branches.split(self.key_tokens)[index][:, None, None])  # G 1 T 1
        return lower & ((own.mT == 0) | (own.mT == own))

    def _mask(self, index: int, prefix: int, seen: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        group, allowed = self.groups[index], self._allowed(index)
        queries, keys = group.queries.length, group.keys.length
        bias = None if self.bias is None else self.bias(keys, dtype)
        if allowed is None and bias is None and seen is None:
            return None
        lowest = torch.finfo(dtype).min
        scores = torch.zeros(1, 1, 1, keys, dtype=dtype, device=group.rows.device) if bias is None else bias
        if allowed is not None:
            scores = scores.masked_fill(~allowed, lowest)
        if not prefix:
            return scores.expand(-1, -1, queries, -1)
        empty = scores.new_zeros(1, 1, 1, prefix)
        front = empty if seen is None else empty.masked_fill(~seen, lowest)
        count, heads = max(len(front), len(scores)), scores.shape[1]
        both = (front.expand(count, heads, queries, -1), scores.expand(count, -1, queries, -1))
        return torch.cat(both, 3)
