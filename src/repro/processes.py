"""How many processes share a trial: what a launcher (`torchrun`, `accelerate launch`) says in the environment.

Nothing here loads torch; the processes find each other in `training/ranks.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_SAID = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """This process among those of the trial."""

    rank: int = 0
    count: int = 1
    on_machine: int = 0
    """Its number among those of this machine: which GPU it takes."""

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0


def present() -> Processes:
    """What the launcher says; one process where there is none (a scheduler's WORLD_SIZE alone is none)."""
    if not all(os.environ.get(name) for name in _SAID):
        return Processes()
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return Processes(rank, count, int(os.environ.get("LOCAL_RANK", rank)))
