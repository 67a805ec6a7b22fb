"""One trial in several processes, each started by `torchrun` or `accelerate launch` with the same command.

The first process does all that a process alone does: lock, checkpoints, predictions, record. The others compute. What
they do together is in `training/distributed`; here they meet, and learn whether there is something to train.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

from repro.errors import ConfigError, ReproError
from repro.training.distributed.process_group import ProcessGroup
from repro.trials.device import pick_device
from repro.trials.processes import present

T = TypeVar("T")


def share(
    device: str, first: Callable[[Callable[[], ProcessGroup]], T], other: Callable[[ProcessGroup], None]
) -> T | None:
    """A trial in one of several processes; what `first` gives, None in the others.

    Args:
        device: `trainer.device`.
        first: what the first process does; it calls its argument once there is something to train.
        other: what each of the others does then.

    Raises:
        ReproError: as `first` and `other`; or another process has ended.
    """
    try:
        group = ProcessGroup(present().rank, present().count, device_of(device))
        result = _lead(group, first) if group.first else None
        if not group.first and group.share(False):
            other(group)
        group.leave()
    except RuntimeError as error:
        if not _lost_another(error):
            raise
        raise ReproError(
            "another process of this trial has ended, so this one ends too: what was wrong is said there. The same "
            "command goes on from the last checkpoint."
        ) from error
    return result


def _lead(group: ProcessGroup, first: Callable[[Callable[[], ProcessGroup]], T]) -> T:
    started: list[bool] = []

    def start() -> ProcessGroup:
        started.append(group.share(True))
        return group

    try:
        return first(start)
    finally:
        if not started:  # it is stored, or fails before it starts: the others wait for a word
            group.share(False)


def device_of(name: str) -> torch.device:
    """Where this process computes: a GPU of its own, or the CPU.

    Raises:
        ConfigError: there are fewer GPUs than processes, or the device is neither.
    """
    device, number = pick_device(name), present().on_machine
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"trainer.device={device}: several processes share a trial on CPUs or on CUDA. Set trainer.device=cpu."
        )
    if device.type == "cpu":
        return device
    if number >= torch.cuda.device_count():
        error = ConfigError(
            f"process {number} of this machine has no GPU: there are {torch.cuda.device_count()}. Start one process "
            "for each (torchrun --nproc-per-node), or set trainer.device=cpu."
        )
        error.here_only = True
        raise error
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _lost_another(error: RuntimeError) -> bool:
    """Whether an exchange failed because its other end is gone: gloo has no error type of its own for that."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
