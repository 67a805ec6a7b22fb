"""How many processes share a trial: what a launcher (`torchrun`, `accelerate launch`) says in the environment.

Nothing here loads torch; the processes find each other in `training/distributed/process_group.py`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from repro.errors import ConfigError, Interrupted, ReproError, ToldElsewhere, print_line

FIRST_SAYS = 10.0
"""Seconds that the first of several processes has to say why a trial ended."""

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


def refuse_beside_a_trial(command: str, arguments: Sequence[str]) -> None:
    """What several processes at once cannot do: they share one trial.

    Raises:
        ConfigError: another command, or a sweep.
    """
    count = present().count
    if count > 1 and command != "run":
        raise ConfigError(
            f"repro {command} in {count} processes (WORLD_SIZE): several processes share one trial, so torchrun can "
            "start `repro run` only. Start it without torchrun."
        )
    if count > 1 and any(word in ("-m", "--multirun") for word in arguments):
        raise ConfigError(
            f"-m in {count} processes (WORLD_SIZE): several processes share one trial. Start one torchrun for each "
            "trial of the sweep, without -m."
        )


def tell(error: ReproError) -> None:
    """Print it. Of several processes that share a trial the first does; another waits meanwhile to be ended by their
    launcher, and one that still lives then was the only one to fail."""
    if not present().first and not error.here_only:
        stopped = isinstance(error, Interrupted)  # all together, after a checkpoint
        time.sleep(1.0 if stopped else FIRST_SAYS)
        if stopped:
            return
    if not isinstance(error, ToldElsewhere):
        print_line(f"repro: {error}", sys.stderr)
