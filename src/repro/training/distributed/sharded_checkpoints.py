"""Checkpoints of a trial that several processes train: whole tensors, written and read by the first process.

The files are those of one process, so either may continue what the other began, and the number of processes may change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from repro.training.checkpoint import Checkpoints, Progress
from repro.training.distributed.sharding import Shards


class ShardedCheckpoints:
    """As `Checkpoints`, called by all processes alike.

    Args:
        files: where the first process writes.
        like: {name: this process's rows} of all that a snapshot may hold.
    """

    def __init__(self, files: Checkpoints, shards: Shards, like: Callable[[], Mapping[str, Tensor]]):
        self._files, self._shards, self._like = files, shards, like

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """As `Checkpoints.save`."""
        whole = self._whole(tensors)
        self._shards.ranks.of_first(lambda: self._files.save(progress, whole))

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """As `Checkpoints.save_best`."""
        whole = self._whole(tensors)
        self._shards.ranks.of_first(lambda: self._files.save_best(step, whole))

    def load(self) -> tuple[Progress, dict[str, Tensor]] | None:
        """As `Checkpoints.load`, with this process's rows."""
        whole: dict[str, Tensor] = {}

        def read() -> list[Any] | None:
            found = self._files.load()
            if found is None:
                return None
            whole.update(found[1])
            return [asdict(found[0]), list(whole)]

        found = self._shards.ranks.of_first(read)
        return None if found is None else (Progress(**found[0]), self._parts(whole, found[1]))

    def load_best(self, step: int) -> dict[str, Tensor]:
        """As `Checkpoints.load_best`, with this process's rows."""
        whole: dict[str, Tensor] = {}

        def read() -> list[str]:
            whole.update(self._files.load_best(step))
            return list(whole)

        return self._parts(whole, self._shards.ranks.of_first(read))

    def _whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        gathered = {name: self._shards.whole(name, tensor) for name, tensor in tensors.items()}
        return {name: tensor for name, tensor in gathered.items() if tensor is not None}

    def _parts(self, whole: Mapping[str, Tensor], names: list[str]) -> dict[str, Tensor]:
        like = self._like()
        return {name: self._shards.part(name, whole.get(name), like[name]) for name in names}
