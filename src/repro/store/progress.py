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
from dataclasses import asdict, dataclass, field
from pathlib import Path

from repro.store.damage import Damaged, read_as

FILE = "progress.json"
SECONDS = 2.0
"""At most one write in so many seconds."""
POINTS = 64
"""At most so many points of the loss curve are kept."""


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
    name: str | None = None
    """Method, model, task and seed."""
    score: str | None = None
    """The last evaluation's first value, as a text."""
    losses: list[float | None] = field(default_factory=list)
    """Mean training loss of `losses_every` steps each, from the first step on; None where none was a number."""
    losses_every: int = 1

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
        name: of the trial, for people.
    """

    def __init__(self, folder: Path, steps: int, clock: Callable[[], float] = time.time, name: str | None = None):
        self._path, self._steps, self._clock = folder / FILE, steps, clock
        self._began: tuple[float, int] | None = None
        before = read(folder)  # a continued trial may be interrupted again before its first step
        self._step = 0 if before is None else before.step
        self._loss = None if before is None else before.loss
        self._name, self._score = name, None if before is None else before.score
        self._curve = _Curve() if before is None else _Curve(list(before.losses), before.losses_every)
        self._written = -math.inf

    def trained(self, step: int, loss: float) -> None:
        """After a step."""
        if self._began is None:
            self._began = (self._clock(), step)
            self._curve.forget_from(step)
        self._curve.add(loss)
        self._step, self._loss = step, loss if math.isfinite(loss) else None
        self._write("training")

    def evaluating(self) -> None:
        """Between two batches of an evaluation."""
        self._write("evaluating")

    def evaluated(self, score: str) -> None:
        """After an evaluation."""
        self._score = score
        self._write("training")

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
        progress = Progress(self._step, self._steps, self._loss, speed, phase, now, self._name, self._score)
        text = json.dumps(asdict(progress) | self._curve.fields())
        temporary = self._path.with_name(f".{FILE}.{os.getpid()}.tmp")
        try:
            temporary.write_text(text + "\n", encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError:  # a full disk: the checkpoint will say so
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


class _Curve:
    """A loss curve of few points: when there are too many, each two become one."""

    def __init__(self, points: list[float | None] | None = None, every: int = 1):
        self._points, self._every = points or [], every
        self._sum, self._finite, self._steps = 0.0, 0, 0

    def forget_from(self, step: int) -> None:
        """A process continues at an earlier step than the one before had reached."""
        del self._points[(step - 1) // self._every :]

    def add(self, loss: float) -> None:
        """One step's."""
        self._steps += 1
        if math.isfinite(loss):
            self._sum, self._finite = self._sum + loss, self._finite + 1
        if self._steps < self._every:
            return
        self._points.append(self._sum / self._finite if self._finite else None)
        self._sum, self._finite, self._steps = 0.0, 0, 0
        if len(self._points) > POINTS:
            self._every *= 2
            pairs = zip(self._points[::2], self._points[1::2], strict=False)
            odd = self._points[-1] if len(self._points) % 2 else None
            self._points = [_mean(one, two) for one, two in pairs]
            if odd is not None:  # half of the next point
                self._sum, self._finite, self._steps = odd * self._every / 2, self._every // 2, self._every // 2

    def fields(self) -> dict[str, object]:
        """Fields of `Progress`."""
        return {"losses": self._points, "losses_every": self._every}


def _mean(one: float | None, two: float | None) -> float | None:
    known = [value for value in (one, two) if value is not None]
    return sum(known) / len(known) if known else None


def read(folder: Path) -> Progress | None:
    """The last progress of a trial; None where there is none, or none that can be read."""
    try:
        seen = read_as(Progress, folder / FILE)
    except (FileNotFoundError, Damaged):
        return None
    steps_fit = 0 <= seen.step <= seen.steps and seen.losses_every >= 1
    return seen if steps_fit and len(seen.losses) <= POINTS else None


def remove(folder: Path) -> None:
    """A trial that has a record needs no such file."""
    (folder / FILE).unlink(missing_ok=True)
