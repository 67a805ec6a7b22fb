"""How far a running trial is: a small file in its run folder for those who look on from elsewhere.

It is a courtesy, not a result: nothing is computed from it, it is not flushed to the disk, and a trial goes on when it
cannot be written.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "progress.json"
SECONDS = 2.0
"""At most one write in so many seconds."""


@dataclass(frozen=True)
class Progress:
    """What a running trial says of itself."""

    step: int
    """Updates done."""
    steps: int
    """Updates in all."""
    loss: float | None
    """Of the last step; None before the first, or where it is no number."""
    seconds_per_step: float | None
    """Wall time since this process began training, evaluations included, over the steps since; None: not known yet."""
    phase: str
    """training | evaluating"""
    written: float
    """When, in seconds since 1970 by the clock of the machine that trains."""

    @property
    def seconds_left(self) -> float | None:
        """To the last step, at the speed so far; None where that is not known."""
        return None if self.seconds_per_step is None else self.seconds_per_step * (self.steps - self.step)


class ProgressFile:
    """Writes `progress.json` of a run folder, now and then.

    Args:
        folder: the trial's run folder.
        steps: updates in all.
        clock: seconds since 1970; tests have their own.
    """

    def __init__(self, folder: Path, steps: int, clock: Callable[[], float] = time.time):
        self._path, self._steps, self._clock = folder / FILE, steps, clock
        self._began: tuple[float, int] | None = None
        before = read(folder)  # a continued trial may be interrupted again before its first step
        self._step = 0 if before is None else before.step
        self._loss = None if before is None else before.loss
        self._written = -math.inf

    def trained(self, step: int, loss: float) -> None:
        """After a step."""
        if self._began is None:
            self._began = (self._clock(), step)
        self._step, self._loss = step, loss if math.isfinite(loss) else None
        self._write("training")

    def evaluating(self) -> None:
        """Between two batches of an evaluation."""
        self._write("evaluating")

    def close(self) -> None:
        """The last state, whenever the one before was written."""
        self._written = -math.inf
        self._write("training")

    def _write(self, phase: str) -> None:
        now = self._clock()
        # A clock that was set back must not silence us.
        if self._written <= now < self._written + SECONDS:
            return
        self._written = now
        speed = None
        if self._began is not None and self._step > self._began[1]:
            speed = (now - self._began[0]) / (self._step - self._began[1])
        text = json.dumps(asdict(Progress(self._step, self._steps, self._loss, speed, phase, now)))
        temporary = self._path.with_name(f".{FILE}.{os.getpid()}.tmp")
        try:
            temporary.write_text(text + "\n", encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError:  # a full disk: the checkpoint will say so
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def read(folder: Path) -> Progress | None:
    """What a trial last said; None where it said nothing, or nothing that can be read."""
    try:
        return Progress(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def remove(folder: Path) -> None:
    """A trial that has a record needs no such file."""
    (folder / FILE).unlink(missing_ok=True)
