"""Checkpoints of a trial that several processes train: whole tensors, written and read by the first process.

The files are those of one process, so one process and several may each resume what the other began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from torch import Tensor

from repro.training.checkpoint import Checkpoints, Progress
from repro.training.distributed.sharding import Shards


class ShardedCheckpoints:
    """As `Checkpoints`, called by all processes alike.

    Args:
        files: where the first process writes.
        like: {name: this process's rows} of everything that a snapshot may hold.
    """

    def __init__(self, files: Checkpoints, shards: Shards, like: Callable[[], Mapping[str, Tensor]]):
        self._files, self._shards, self._like = files, shards, like

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """As `Checkpoints.save`."""
        whole = self._shards.all_whole(tensors)
        self._shards.processes.of_first(lambda: self._files.save(progress, whole))

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """As `Checkpoints.save_best`."""
        whole = self._shards.all_whole(tensors)
        self._shards.processes.of_first(lambda: self._files.save_best(step, whole))

    def load(self) -> tuple[Progress, dict[str, Tensor]] | None:
        """As `Checkpoints.load`, with this process's rows."""
        whole: dict[str, Tensor] = {}

        def read() -> tuple[dict[str, object], list[str]] | None:
            state = self._files.load()
            if state is None:
                return None
            whole.update(state[1])
            return asdict(state[0]), list(whole)

        state = self._shards.processes.of_first(read)
        return None if state is None else (Progress.of(state[0]), self._parts(whole, state[1]))

    def load_best(self, step: int) -> dict[str, Tensor]:
        """As `Checkpoints.load_best`, with this process's rows."""
        whole: dict[str, Tensor] = {}

        def read() -> list[str]:
            whole.update(self._files.load_best(step))
            return list(whole)

        return self._parts(whole, self._shards.processes.of_first(read))

    def _parts(self, whole: Mapping[str, Tensor], names: list[str]) -> dict[str, Tensor]:
        like = self._like()
        return {name: self._shards.part(name, whole.get(name), like[name]) for name in names}
