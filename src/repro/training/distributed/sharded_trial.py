"""One trial in several processes: what building a trial wires where there is more than one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from repro.methods.base import Method
from repro.models.backbone import Backbone
from repro.models.interface import ModelAdapter
from repro.training.batching import Part
from repro.training.checkpoint import Checkpoints
from repro.training.distributed.process_group import ProcessGroup
from repro.training.distributed.sharded_checkpoints import ShardedCheckpoints
from repro.training.distributed.sharding import ShardedAdapter, shard, split_weights
from repro.training.trainable import Group, TrainableTrial


class ShardedTrial:
    """A backbone that is split over the processes, and a method whose tensors each process has whole.

    Creating it splits the backbone and moves everything to this process's device.

    Args:
        own: weights of the backbone that the method trains, by name.
    """

    def __init__(
        self, backbone: Backbone, own: Mapping[str, nn.Parameter], method: Method, processes: ProcessGroup
    ) -> None:
        self.processes = processes
        self._gathered = shard(backbone, processes)
        now = dict(backbone.whole.named_parameters())
        self.own: dict[str, nn.Parameter] = {name: now[name] for name in own}
        """The same weights: this process's rows of them."""
        method.parameters = {
            name: tensor.detach().to(processes.device).requires_grad_() for name, tensor in method.parameters.items()
        }
        self._views, self.shards, self._sync = split_weights(self.own, method.parameters, processes)

    def adapter(self, adapter: ModelAdapter) -> ShardedAdapter:
        """The adapter over the split backbone."""
        return ShardedAdapter(adapter, self._gathered)

    def tuned_weights(self) -> tuple[dict[str, Tensor], Callable[[], None]]:
        """Views of the tuned weights, and what copies their gradients over; it sums the method's over the processes."""
        return self._views, self._sync

    @property
    def group(self) -> Group:
        """What the trial is told of the other processes."""
        processes = self.processes
        return Group(Part(processes.rank, processes.count), processes.sum, self.shards.norms, processes.share)

    def checkpoints(self, files: Checkpoints, trial: TrainableTrial) -> ShardedCheckpoints:
        """Where the trial saves: the first process's files."""
        return ShardedCheckpoints(files, self.shards, trial.snapshot)

    def whole_weights(self) -> dict[str, Tensor]:
        """{`backbone.<name>`: the whole tuned weight} on the CPU of the first process; empty in the others."""
        whole = self.shards.all_whole(self._views)
        return {name: tensor[0].contiguous().clone() for name, tensor in whole.items()}
