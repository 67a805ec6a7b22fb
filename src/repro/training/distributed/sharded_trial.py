"""One trial in several processes: what `trial.py` wires where `processes.present` counts more than one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from repro.methods.base import Method
from repro.models.backbone import Backbone
from repro.models.interface import ModelAdapter
from repro.training.batching import Part
from repro.training.checkpoint import Checkpoints
from repro.training.distributed.process_group import ProcessGroup
from repro.training.distributed.sharded_checkpoints import ShardedCheckpoints
from repro.training.distributed.sharding import ShardedAdapter, shard, split_weights
from repro.training.trainable import TrainableTrial


class ShardedTrial:
    """A backbone that is split over the processes, and a method whose tensors each of them has whole.

    Making it splits the backbone and moves everything to this process's device.

    Args:
        own: weights of the backbone that the method trains, by name.
    """

    def __init__(self, backbone: Backbone, own: Mapping[str, nn.Parameter], method: Method, ranks: ProcessGroup):
        self.ranks = ranks
        self._around = shard(backbone, ranks)
        now = dict(backbone.whole.named_parameters())
        self.own: dict[str, nn.Parameter] = {name: now[name] for name in own}
        """The same weights, as what this process has of them."""
        method.parameters = {
            name: tensor.detach().to(ranks.device).requires_grad_() for name, tensor in method.parameters.items()
        }
        self._views, self.shards, self._sync = split_weights(self.own, method.parameters, ranks)

    def adapter(self, adapter: ModelAdapter) -> ShardedAdapter:
        """The adapter over the split backbone."""
        return ShardedAdapter(adapter, self._around)

    def tuned_weights(self) -> tuple[dict[str, Tensor], Callable[[], None]]:
        """As `trial.tuned_weights`; gradients of the method's tensors are summed over the processes there too."""
        return self._views, self._sync

    @property
    def options(self) -> dict[str, Any]:
        """What a `TrainableTrial` is told of the other processes."""
        return {
            "part": Part(self.ranks.rank, self.ranks.count),
            "summed": self.ranks.sum,
            "norms": self.shards.norms,
            "decided": self.ranks.share,
        }

    def checkpoints(self, files: Checkpoints, run: TrainableTrial) -> ShardedCheckpoints:
        """Where the trial saves: the first process's files."""
        return ShardedCheckpoints(files, self.shards, run.snapshot)

    def whole_weights(self) -> dict[str, Tensor]:
        """{`backbone.<name>`: the whole tuned weight} on the CPU of the first process; empty in the others."""
        whole = {name: self.shards.whole(name, view) for name, view in self._views.items()}
        return {name: tensor[0].contiguous().clone() for name, tensor in whole.items() if tensor is not None}
