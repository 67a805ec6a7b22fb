"""Dropout inside a backbone, keyed by coordinates: the same masks whatever else is in the batch.

Every `nn.Dropout` of a loaded model becomes a `KeyedDropout`; dropout that a family calls as a function is taken over
by hooks on the modules whose output it is applied to (`Family.functional_dropout`), and on attention probabilities it
is drawn in `attention.prefix_attention`. All of them look at one `DropoutKeys`, which the loop fills before a pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from repro.methods.parts.keyed_dropout import keyed_dropout, mixed, site_number
from repro.models.families.family import FunctionalDropout
from repro.models.threads import Own

Output = Tensor | tuple[Tensor, ...]
_READS_MEMORY = re.compile(r"(EncDecAttention|encoder_attn)\.(k|v|k_proj|v_proj)\b")
"""Modules of a decoder that read the encoder's states."""


@dataclass
class _Pass:
    """Who stands where in a pass: each worker's own, as passes run side by side."""

    rows: Tensor | None = None
    step: int | None = None
    layouts: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    tokens: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    """What was asked for already."""


class DropoutKeys:
    """Who stands where in the present pass.

    Every row of the batch has a key (trial, step and example; `training.batching`). Where a batch is packed end to end,
    a layout of each stack says which row and which position every token is.
    """

    def __init__(self) -> None:
        self._now = Own(_Pass)
        self.whole_sequence = False
        """One mask for all positions of a sequence, in attention for all queries (Flaxformer's `broadcast_dims`)."""

    def fill(self, rows: Tensor | None, step: int | None = None) -> None:
        """Before a pass: the rows' keys [N]; an earlier pass's layouts are forgotten.

        Args:
            step: key of the whole step, where all rows are one trial's.
        """
        now = self._now.here
        now.rows, now.step, now.layouts, now.tokens = rows, step, {}, {}

    def pack(self, stack: str, row: Tensor, position: Tensor) -> None:
        """States of a stack (encoder, decoder) are [1, T, D] now: the row and the position of each token, both [T]."""
        now = self._now.here
        now.layouts[stack], now.tokens = (row, position), {}

    def unpack(self) -> None:
        """States are [N, T, D] again."""
        now = self._now.here
        if now.layouts:
            now.layouts, now.tokens = {}, {}

    def _given(self) -> Tensor:
        rows = self._now.here.rows
        if rows is None:
            raise RuntimeError("dropout has no keys: DropoutKeys.fill comes before a pass in train mode")
        return rows

    def of_tokens(self, states: Tensor, stack: str) -> Tensor:
        """Keys of the vectors of `states`: [N] of [N, D], [N, T] of [N, T, D], [1, T] of packed [1, T, D]."""
        rows, now = self._given(), self._now.here
        if states.dim() == 2 and len(states) == len(rows):
            return rows
        if states.dim() != 3:
            raise RuntimeError(f"dropout of a tensor {tuple(states.shape)}: there is no row in it to take a key from")
        name = (stack if stack in now.layouts else "", states.shape[1])
        if name not in now.tokens:
            if name[0]:
                row, position = now.layouts[stack]
                now.tokens[name] = (rows[row] if self.whole_sequence else mixed(rows[row], position))[None]
            elif self.whole_sequence:
                now.tokens[name] = rows[:, None].expand(-1, states.shape[1])
            else:
                now.tokens[name] = mixed(rows[:, None], torch.arange(states.shape[1], device=rows.device))
        return now.tokens[name]

    def of_heads(self, heads: int, length: int, site: int, chosen: Tensor | None = None) -> Tensor:
        """Keys [N, heads, length] of what every row has for each head and position (prefixes, attention's queries).

        Args:
            chosen: [G] rows of the batch; None: all of them, in order.
        """
        rows = mixed(self._given() if chosen is None else self._given()[chosen], site)
        by_head = mixed(rows[:, None], torch.arange(heads, device=rows.device))
        return mixed(by_head[:, :, None], torch.arange(length, device=rows.device))

    def attention(self, shares: Tensor, rate: float, site: int, prefix: int, chosen: Tensor | None = None) -> Tensor:
        """Attention probabilities [N, H, T, prefix + keys] with some dropped; `chosen` as in `of_heads`.

        Prefix columns count from -1 downwards: a longer neighbour's prefix moves no real key to another mask.
        """
        columns = torch.arange(shares.shape[-1], device=shares.device)
        columns = torch.where(columns < prefix, -1 - columns, columns - prefix)
        queries = 1 if self.whole_sequence else shares.shape[2]
        keys = self.of_heads(shares.shape[1], queries, site, chosen).expand(-1, -1, shares.shape[2])
        return keyed_dropout(shares, rate, keys, columns)

    def table(self, table: Tensor, rate: float, site: int) -> Tensor:
        """A table [R, D] that all rows share (DeBERTa's relative positions): drawn once a step, so such a model trains
        one trial at a time (`Family.shared_dropout`)."""
        step = self._now.here.step
        if step is None:
            raise RuntimeError("a table that all rows share has dropout: its trials cannot share a pass")
        places = torch.arange(len(table), device=table.device)
        return keyed_dropout(table, rate, mixed(mixed(torch.full_like(places, step), site), places))

    def states(self, states: Tensor, rate: float, site: int, stack: str = "") -> Tensor:
        """Hidden states [..., D] with some dropped."""
        return keyed_dropout(states, rate, mixed(self.of_tokens(states, stack), site))


class KeyedDropout(nn.Dropout):
    """`nn.Dropout` with masks of `keys`. Made by swapping the class of a loaded module: see `key_dropouts`."""

    keys: DropoutKeys
    place: str
    """Its name in the model."""
    site: int
    stack: str

    def forward(self, input: Tensor) -> Tensor:
        """Hidden states [N, T, D], or attention probabilities [N, H, T, P + T] of a model with its own attention."""
        if not self.training or not self.p:
            return input
        if input.dim() == 4:
            return self.keys.attention(input, self.p, self.site, input.shape[-1] - input.shape[-2])
        if self.place.endswith("pos_dropout"):
            return self.keys.table(input, self.p, self.site)
        return self.keys.states(input, self.p, self.site, self.stack)


def stack_of(name: str, kind: str) -> str:
    """The stack whose tokens a module reads, from its name in the model."""
    if kind != "encoder_decoder":
        return kind
    return "decoder" if "decoder" in name.split(".") and not _READS_MEMORY.search(name) else "encoder"


def key_dropouts(whole: nn.Module, keys: DropoutKeys, kind: str) -> None:
    """Let every `nn.Dropout` of a model draw by `keys`. May be called again when modules were added (LoRA's)."""
    for name, module in whole.named_modules():
        if type(module) is nn.Dropout:
            module.__class__ = KeyedDropout
            module.__dict__.update(keys=keys, place=name, site=site_number(name), stack=stack_of(name, kind))


def key_functions(places: Mapping[str, FunctionalDropout], keys: DropoutKeys, kind: str) -> None:
    """Take over dropout that a model calls as a function (`Family.functional_dropout`)."""

    def hook(site: int, stack: str, rate: float) -> Callable[[nn.Module, object, Output], Output | None]:
        def apply(module: nn.Module, args: object, output: Output) -> Output | None:
            if not module.training:
                return None
            if isinstance(output, tuple):
                return (keys.states(output[0], rate, site, stack), *output[1:])
            return keys.states(output, rate, site, stack)

        return apply

    rates = {name: float(getattr(place.holder, place.attribute)) for name, place in places.items()}
    for name, place in places.items():
        if rates[name]:
            place.module.register_forward_hook(hook(site_number(name), stack_of(name, kind), rates[name]))
            setattr(place.holder, place.attribute, 0.0)
