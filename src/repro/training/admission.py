"""How many trials train jointly: a number, or as many as the tokens of a step and memory allow."""

from __future__ import annotations

from pathlib import Path

import torch

from repro.training.loop import TrainingLoop
from repro.training.memory import peak_resident

TOKENS_A_STEP = {"cpu": 4_096, "cuda": 16_384}
"""Real tokens in a step beyond which more trials make it hardly cheaper: a GPU is full, a CPU's caches are."""
MEMORY_SHARE = 0.7
"""Share of the free memory that the next trial may be expected to take."""


class Admission:
    """Decides whether one more trial may join.

    Args:
        limit: most trials, whatever they take; None: as many as the tokens of a step and memory allow. Then the first
            trial steps alone before others join, which shows how much memory a trial takes.
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
        tokens = sum(trial.tokens for trial in loop.trials)
        if tokens * (present + 1) / present > TOKENS_A_STEP.get(self.device.type, TOKENS_A_STEP["cuda"]):
            return False
        a_trial = (taken(self.device) - self._before) / loop.largest
        new = sum(trial.progress.step == 0 for trial in loop.trials)  # what they will take does not show yet
        return a_trial * (new + 1) <= MEMORY_SHARE * free(self.device)


def taken(device: torch.device) -> int:
    """Most bytes that this process took so far: on the GPU where one is used, else its resident size."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident()


def free(device: torch.device) -> float:
    """Bytes that are left."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    return min((amount for amount in (_machine(), _cgroup()) if amount is not None), default=float("inf"))


def _machine(file: Path = Path("/proc/meminfo")) -> float | None:
    """What the kernel estimates new programs may have."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """What the limits of a container or a Slurm job leave: the least of our cgroup (version 2) and those around it."""
    try:
        inner = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        inner = "/"
    folder = root / inner.strip("/")
    left = [_left(group) for group in (folder, *folder.parents) if group.is_relative_to(root)]
    return min((amount for amount in left if amount is not None), default=None)


def _left(folder: Path) -> float | None:
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return None if limit == "max" else float(limit) - float(used)
    except (OSError, ValueError):
        return None
