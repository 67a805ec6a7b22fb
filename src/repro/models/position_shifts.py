"""Position ids of real tokens behind a prefix, and of packed sequences: hooks on the modules that look them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from repro.models.attention.packing import Packed
from repro.models.families.family import PositionModule
from repro.models.threads import Own

Shift = int | Tensor
"""What is added to the ids of all rows, or of each [N, 1]."""
Arguments = tuple[tuple[Tensor, ...], dict[str, Tensor]]


@dataclass
class _Pass:
    """Position ids of a pass: each worker's own, as passes run side by side."""

    shift: dict[str, Shift]
    """{stack: shift}"""
    packed: dict[str, Tensor] = field(default_factory=dict)
    """{stack: position id of every token of a packed row [1, S]}; empty while batches are padded"""


class PositionShifts:
    """What the hooks look at: `shift` and `pack` set it for the next passes."""

    def __init__(self, modules: Sequence[PositionModule], sites: tuple[str, ...]):
        self._modules = modules
        self._now = Own(lambda: _Pass(dict.fromkeys(sites, 0)))
        self.given = any(position.offset is None for position in modules)
        """Whether the model is called with position ids."""
        for position in modules:
            hooks = _Hooks(position, self._now)
            position.module.register_forward_pre_hook(hooks.packed, with_kwargs=True)
            if position.offset is None:
                position.module.register_forward_pre_hook(hooks.shifted, with_kwargs=True)
            else:
                position.module.register_forward_hook(hooks.looked_up, with_kwargs=True)

    def shift(self, by_site: Mapping[str, Shift]) -> None:
        """Batches are padded, and real tokens start at these positions."""
        now = self._now.here
        now.shift, now.packed = dict(by_site), {}

    def pack(self, queries: Mapping[str, Packed]) -> None:
        """Batches are packed: every token has the id of its position in its sequence."""
        now = self._now.here
        for position in self._modules:
            packed, shift = queries[position.site], now.shift[position.site]
            each = shift[packed.token_owners, 0] if isinstance(shift, Tensor) else shift
            now.packed[position.site] = (packed.positions + position.first + each)[None]


@dataclass(frozen=True)
class _Hooks:
    """On one module."""

    position: PositionModule
    now: Own[_Pass]

    def packed(self, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Arguments | None:
        """Gives the module every packed token's own position id."""
        ids = self.now.here.packed.get(self.position.site)
        if ids is None:
            return None
        by_name = not isinstance(self.position.argument, int)
        return self._replaced(args, kwargs, ids[0] if by_name and self.position.offset is not None else ids)

    def shifted(self, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Arguments | None:
        """Adds the site's shift to the position ids on their way to the table (or to the rotation)."""
        shift, argument = self._shift(), self.position.argument
        if shift is None:
            return None
        ids = args[argument] if isinstance(argument, int) else kwargs[argument]
        if isinstance(shift, Tensor) and len(ids) > len(shift):  # beams
            shift = shift.repeat_interleave(len(ids) // len(shift), 0)
        ids = ids + shift
        if isinstance(shift, Tensor) and isinstance(module, nn.Embedding):
            ids = ids.clamp(max=module.num_embeddings - 1)  # padding beside a longer neighbour
        return self._replaced(args, kwargs, ids)

    def looked_up(
        self, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor
    ) -> Tensor | None:
        """Looks positions up anew, in tables that know one row of them or count by themselves (BART)."""
        shift, ids = self._shift(), args[0]
        if shift is None:
            return None
        if isinstance(shift, Tensor):
            shift = shift.repeat_interleave(len(ids) // len(shift), 0)
        counted = torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
        plain = kwargs.get(str(self.position.argument))
        rows = (counted if plain is None else plain[None]) + shift + (self.position.offset or 0)
        weight = module.get_parameter("weight")
        if isinstance(shift, Tensor):
            rows = rows.clamp(max=len(weight) - 1)  # as above
        return nn.functional.embedding(rows, weight)

    def _shift(self) -> Shift | None:
        """The shift where there is one to apply: not 0, and the batch is padded."""
        now = self.now.here
        shift = now.shift[self.position.site]
        return None if now.packed or (isinstance(shift, int) and not shift) else shift

    def _replaced(self, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], ids: Tensor) -> Arguments:
        argument = self.position.argument
        if isinstance(argument, int):
            return (*args[:argument], ids, *args[argument + 1 :]), kwargs
        return args, {**kwargs, argument: ids}
