"""The processes that train one trial together: what they add up, and what the first of them decides for all.

Every process runs the same program over the same examples. Whatever may differ between them (a clock, a signal, a file,
a library's score) is asked of the first one, or of all, at the same point of the program: a process that took another
path would leave the others waiting.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from repro.errors import ReproError, ToldElsewhere

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""Timeout of one exchange: another process may wait for a lock. One that died is noticed at once."""


class ProcessGroup:
    """The processes of this trial. Creating it waits for all of them.

    Args:
        rank, count: of this process, and how many there are.
        device: where this process computes: NCCL carries what is on GPUs, gloo the rest.
    """

    def __init__(self, rank: int, count: int, device: torch.device):
        self.rank, self.count, self.device = rank, count, device
        self.first = rank == 0
        if not dist.is_initialized():
            backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
            dist.init_process_group(backend, timeout=PATIENCE)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place; equal in each of them."""
        dist.all_reduce(values)
        return values

    def most(self, number: float) -> float:
        """The largest of all processes' numbers."""
        value = torch.tensor([number], dtype=torch.float64)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return float(value)

    def any(self, wish: bool) -> bool:
        """Whether it is true in at least one process."""
        return bool(self.most(float(wish)))

    def share(self, value: T) -> T:
        """The first process's value, in all processes. JSON must be able to hold it: nothing received is unpickled, as
        torch's `broadcast_object_list` would."""
        data = json.dumps(value).encode() if self.first else b""
        size = torch.tensor([len(data)])
        dist.broadcast(size, 0)
        sent = torch.tensor(list(data) or [0] * int(size), dtype=torch.uint8)
        dist.broadcast(sent, 0)
        received: T = value if self.first else json.loads(bytes(sent.tolist()))
        return received

    def of_first(self, work: Callable[[], T]) -> T:
        """The result of `work`, which only the first process runs; where it raises there, all raise.

        Args:
            work: returns something that JSON can hold, for the others.

        Raises:
            ReproError: the first process's own.
            ToldElsewhere: another error ended it there, and is reported there.
        """
        result: list[T] = []
        error: Exception | None = None
        if self.first:
            try:
                result.append(work())
            except Exception as raised:
                error = raised
        told = error if error is None or isinstance(error, ReproError) else ToldElsewhere()
        result, failure = self.share((result, None if told is None else [type(told).__name__, str(told)]))
        if error is not None:
            raise error
        if failure is not None:
            raise _error_type(failure[0])(failure[1])
        return result[0]

    def in_turn(self, work: Callable[[], T]) -> T:
        """The result of `work` in each process, the first one's before the others'; where one raises, all raise.

        What writes files (a data set of this machine, a token cache) thus writes them once.

        Raises:
            ToldElsewhere: it raised in another process.
        """
        outcome: list[T] = []
        self.of_first(lambda: outcome.append(work()))
        error: Exception | None = None
        if not self.first:
            try:
                outcome.append(work())
            except Exception as raised:
                error = raised
                if isinstance(raised, ReproError):
                    raised.here_only = True
        failed = self.any(error is not None)
        if error is not None:
            raise error
        if failed:
            raise ToldElsewhere()
        return outcome[0]

    def leave(self) -> None:
        """End the group: all processes have finished well."""
        dist.barrier()
        dist.destroy_process_group()


def _error_type(name: str) -> type[ReproError]:
    """The error of that name, wherever it is defined; `ReproError` where this process does not know it."""
    known: list[type[ReproError]] = [ReproError]
    for kind in known:  # grows
        known += kind.__subclasses__()
    return next((kind for kind in known if kind.__name__ == name), ReproError)
