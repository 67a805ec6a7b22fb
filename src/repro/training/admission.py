"""How many trials train jointly: by a number, or by the tokens of a step and the memory that the first steps took."""

from __future__ import annotations

from pathlib import Path

import torch

from repro.training.loop import TrainingLoop
from repro.training.memory import peak_resident

TOKENS_A_STEP = {"cpu": 4_096, "cuda": 16_384}
"""Real tokens a step beyond which company makes a step hardly cheaper: a GPU is full, a CPU's caches are."""
MEMORY_SHARE = 0.7
"""Of the memory that is free, how much the next member may be expected to take."""


class Admission:
    """Says whether one more trial may join.

    Args:
        limit: members at most, whatever they take; None: as many as the tokens of a step and memory allow. Then the
            first member steps alone before others join, and tells what a member takes.
        device: of the backbone, which is loaded already.
    """

    def __init__(self, limit: int | None, device: torch.device):
        self.limit, self.device = limit, device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._before = taken(device)

    def room(self, loop: TrainingLoop) -> bool:
        """Whether one more trial, about as large as the present ones, may join."""
        present = len(loop.trials)
        if self.limit is not None:
            return present < self.limit
        if present == 0:
            return True
        if loop.steps == 0:
            return False
        tokens = sum(member.tokens for member in loop.trials)
        if tokens * (present + 1) / present > TOKENS_A_STEP.get(self.device.type, TOKENS_A_STEP["cuda"]):
            return False
        a_member = (taken(self.device) - self._before) / loop.largest
        new = sum(member.progress.step == 0 for member in loop.trials)  # what they take does not show yet
        return a_member * (new + 1) <= MEMORY_SHARE * free(self.device)


def taken(device: torch.device) -> int:
    """Bytes that this process took at most so far: on the GPU where one is used, else its resident size."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident()


def free(device: torch.device) -> float:
    """Bytes that are left."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    found = [amount for amount in (_machine(), _group()) if amount is not None]
    return min(found) if found else float("inf")


def _machine(file: Path = Path("/proc/meminfo")) -> float | None:
    """What the kernel says new programs may have."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _group(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """What the limits of a container, or of a job of Slurm's, leave: the least of our group's and those around it, by
    version 2 of cgroups; None without one."""
    try:
        inner = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        inner = "/"
    folder = root / inner.strip("/")
    found = [_left(one) for one in (folder, *folder.parents) if one.is_relative_to(root)]
    return min((left for left in found if left is not None), default=None)


def _left(folder: Path) -> float | None:
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return None if limit == "max" else float(limit) - float(used)
    except (OSError, ValueError):
        return None
