"""A backbone whose weights are split over several processes, by torch's `fully_shard` (FSDP2), block by block.

Each process holds its rows of every weight. A block's weights are gathered before it runs and freed afterwards;
gradients are summed over the processes and come back as rows. Everything outside the blocks (embeddings, final norms,
pooler, head) is one more unit, gathered for a whole pass. The sum of a step's loss over all processes is the step's
loss, so gradients are summed and not averaged: the loss was divided by the whole step's labels before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from repro.errors import ModelError
from repro.methods.base import Injection
from repro.models.backbone import Backbone
from repro.models.encoding.batch import Batch
from repro.models.interface import ModelAdapter, Reading, RowLoss
from repro.training.distributed.process_group import ProcessGroup
from repro.training.optimisers import TUNED

T = TypeVar("T")

_MOMENTS = ("first", "second", "row")
"""Moments with the rows of their tensor; Adafactor's `column` has none, and is whole everywhere."""


class GatheredPass(nn.Module):
    """Everything that one pass of a model calls, as one module: FSDP gathers and frees weights around modules."""

    def __init__(self, whole: nn.Module):
        super().__init__()
        self.whole = whole

    def forward(self, work: Callable[[], T]) -> T:
        """The result of `work`, with the weights outside the blocks gathered."""
        return work()

    def reshard(self) -> None:
        """Free the gathered weights; `fully_shard` replaces this by FSDP's own."""


class ShardedAdapter:
    """An adapter whose passes run with the weights gathered. All processes must make equally many of them."""

    def __init__(self, adapter: ModelAdapter, gathered: GatheredPass):
        self._adapter, self._gathered = adapter, gathered
        self.backbone, self.encode, self.pad_left = adapter.backbone, adapter.encode, adapter.pad_left

    def reading(self, batch: Batch, injection: Injection, fixed: bool = False) -> Reading:
        """As the adapter's own."""
        return self._adapter.reading(batch, injection, fixed)

    def losses(
        self, batch: Batch, injection: Injection, z_loss: float = 0.0, reading: Reading | None = None
    ) -> RowLoss:
        """As the adapter's own."""

        def work() -> tuple[Tensor, Tensor]:  # FSDP looks for tensors in tuples
            rows = self._adapter.losses(batch, injection, z_loss=z_loss, reading=reading)
            return rows.total, rows.count

        return RowLoss(*self._run(work))

    def predict(self, batch: Batch, injection: Injection, decoding: Mapping[str, Any]) -> Sequence[Any]:
        """As the adapter's own."""
        return self._run(lambda: self._adapter.predict(batch, injection, decoding))

    def _run(self, work: Callable[[], T]) -> T:
        out: T = self._gathered(work)
        if not torch.is_grad_enabled():
            self._gathered.reshard()  # no backward pass will, and the next update would not be seen
        return out


class Shards:
    """Trained tensors [1, ...] of which each process holds some rows (axis 1): `backbone.*`. Others are whole.

    Args:
        rows: {name: rows of the whole tensor} of those that are split, as FSDP splits them: ceil(rows / processes)
            each, the last ones may have fewer, or none.
    """

    def __init__(self, processes: ProcessGroup, rows: Mapping[str, int]):
        self.processes, self._rows = processes, dict(rows)

    def rows(self, name: str) -> int | None:
        """Rows of the whole of a trained tensor or a moment of it (`optimiser.first.<name>`); None: it is not split."""
        if name.startswith("optimiser."):
            moment, _, name = name.removeprefix("optimiser.").partition(".")
            if moment not in _MOMENTS:
                return None
        return self._rows.get(name)

    def sum(self, name: str, values: Tensor) -> Tensor:
        """Sums over this process's rows of a tensor, added up over all processes."""
        return self.processes.sum(values) if self.rows(name) is not None else values

    def norms(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The joint L2 norm of the gradients [1], each number counted once."""
        total, split = (torch.zeros(1, dtype=torch.float64, device=self.processes.device) for _ in range(2))
        for name, tensor in tensors.items():
            if tensor.grad is not None:
                square = tensor.grad.detach().flatten(1).square().sum(1)
                (total if self.rows(name) is None else split).add_(square)
        return (total + self.processes.sum(split)).sqrt()

    def whole(self, name: str, tensor: Tensor) -> Tensor | None:
        """The whole tensor on the CPU of the first process; None in the others."""
        rows = self.rows(name)
        if rows is None:
            return tensor.detach().cpu() if self.processes.first else None
        own = self._padded(tensor.detach(), rows)
        parts = [torch.empty_like(own) for _ in range(self.processes.count)] if self.processes.first else None
        dist.gather(own, parts, 0)
        return None if parts is None else torch.cat(parts, 1)[:, :rows].cpu()

    def all_whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`whole` of each; empty in other processes than the first."""
        gathered = {name: self.whole(name, tensor) for name, tensor in tensors.items()}
        return {name: tensor for name, tensor in gathered.items() if tensor is not None}

    def part(self, name: str, whole: Tensor | None, like: Tensor) -> Tensor:
        """This process's rows of a tensor that the first one has whole: the inverse of `whole`.

        Args:
            like: this process's rows as they are.
        """
        rows = self.rows(name)
        if rows is None:
            out = like.detach().clone() if whole is None else whole.to(like.device, like.dtype)
            dist.broadcast(out, 0)
            return out
        out = self._padded(like.detach(), rows)
        parts = None
        if whole is not None:
            size, count = out.shape[1], self.processes.count
            every = whole.new_zeros(1, size * count, *whole.shape[2:])
            every[:, :rows] = whole
            parts = [piece.contiguous().to(out.device, out.dtype) for piece in every.chunk(count, 1)]
        dist.scatter(out, parts, 0)
        return out[:, : like.shape[1]]

    def _padded(self, tensor: Tensor, rows: int) -> Tensor:
        """With as many rows as the first process's part: collectives exchange equal sizes."""
        out = tensor.new_zeros(1, -(-rows // self.processes.count), *tensor.shape[2:])
        out[:, : tensor.shape[1]] = tensor
        return out


def shard(backbone: Backbone, processes: ProcessGroup) -> GatheredPass:
    """Split the model's weights over the processes and move them to their devices, a block at a time.

    The whole model never is on one device: it is in each process's memory, as it was loaded, until this.

    Raises:
        ModelError: trained weights of several types, which one exchange of gradients cannot carry.
    """
    types = {parameter.dtype for parameter in backbone.whole.parameters() if parameter.requires_grad}
    if len(types) > 1:
        raise ModelError(
            f"{backbone.family.name}: its trained weights are of several types ({', '.join(sorted(map(str, types)))}), "
            "which several processes cannot share. Set trainer.dtype=float32, or start it in one process."
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard  # loads slowly

    # It warns of in-place operations on what a block returns; the families' blocks have none behind it.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    for blocks in backbone.family.blocks(backbone.model).values():
        for block in blocks:
            for module in block.modules():
                if isinstance(module, nn.Embedding):  # T5's relative positions: other blocks look them up too
                    fully_shard(module, mesh=mesh, reshard_after_forward=True)
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
    gathered = GatheredPass(backbone.whole)
    fully_shard(gathered, mesh=mesh, reshard_after_forward=False)
    for module in gathered.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    # `generate` then goes on until every process is done.
    backbone.model._is_fsdp_managed_module = True
    return gathered


def split_weights(
    own: Mapping[str, nn.Parameter], replicated: Mapping[str, Tensor], processes: ProcessGroup
) -> tuple[dict[str, Tensor], Shards, Callable[[], None]]:
    """What `trial.tuned_weights` gives, of split weights: this process's rows as views [1, ...]; how they are split.

    Args:
        own: tuned weights of the backbone after `shard`.
        replicated: the method's tensors, whole in every process; the third value sums their gradients too.
    """
    views = {f"{TUNED}{name}": _rows_of(parameter)[None] for name, parameter in own.items()}

    def sync() -> None:
        for name, parameter in own.items():
            gradient, parameter.grad = parameter.grad, None
            views[f"{TUNED}{name}"].grad = None if gradient is None else _rows_of(gradient)[None]
        for tensor in replicated.values():
            if tensor.grad is not None:
                processes.sum(tensor.grad)

    return views, Shards(processes, {f"{TUNED}{name}": parameter.shape[0] for name, parameter in own.items()}), sync


def _rows_of(tensor: Tensor) -> Tensor:
    """This process's rows of a tensor of a sharded model: they share its memory."""
    from torch.distributed.tensor import DTensor

    assert isinstance(tensor, DTensor)
    return tensor.to_local().detach()
