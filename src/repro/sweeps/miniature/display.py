"""Progress overall and of each running trial: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from repro.sweeps.executors.process_pool import Crew
from repro.sweeps.executors.time_left import minutes
from repro.sweeps.miniature.planning import Job

LINE_SECONDS = 15.0
"""Where there is no terminal, a line about running trials at most this often."""


class Lines:
    """A line for every trial that ends, and one about those that run every few seconds."""

    def __init__(self, total: int, stream: TextIO):
        self._total, self._stream = total, stream
        self._ended, self._said = 0, time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def started(self, job: Job) -> None:
        """Nothing: the line comes when it ends."""

    def ended(self, job: Job, status: str, said: str, seconds: float) -> None:
        """One trial is over."""
        self._ended += 1
        self.say(f"{self._ended}/{self._total} {result(job, status, said, seconds)}")

    def tick(self, crew: Crew) -> None:
        """What runs now, and the time left."""
        if time.monotonic() - self._said < LINE_SECONDS:
            return
        running = "; ".join(f"{w.job.name}: step {w.step}/{w.of}" for w in crew.workers if w.job is not None)
        self.say(f"{crew.clock.share:.0%} done, {minutes(crew.clock.left)} left. Running: {running}")

    def say(self, text: str) -> None:
        """A line."""
        self._said = time.monotonic()
        print(text, file=self._stream, flush=True)


class Bars:
    """One bar for everything, one for each running trial, and a line above them for every trial that ended."""

    def __init__(self, total: int, stream: TextIO):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._total, self._tasks = total, {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(file=stream),
        )
        self._all = self._progress.add_task("all trials", total=1.0, note=f"0/{total}")
        self._ended = 0

    _tasks: dict[str, Any]

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, job: Job) -> None:
        """A bar of its own."""
        self._tasks[job.key] = self._progress.add_task(f"  {job.name}", total=None, note="loading")

    def ended(self, job: Job, status: str, said: str, seconds: float) -> None:
        """Its bar goes, a line comes."""
        self._ended += 1
        self._progress.remove_task(self._tasks.pop(job.key))
        self.say(result(job, status, said, seconds))

    def tick(self, crew: Crew) -> None:
        """Move the bars."""
        note = f"{self._ended}/{self._total}  {minutes(crew.clock.left)} left"
        self._progress.update(self._all, completed=crew.clock.share, note=note)
        for worker in crew.workers:
            if worker.job is not None and worker.of and worker.job.key in self._tasks:
                step = f"step {worker.step}/{worker.of}"
                self._progress.update(self._tasks[worker.job.key], total=worker.of, completed=worker.step, note=step)

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False)


def result(job: Job, status: str, said: str, seconds: float) -> str:
    """What came out of a trial, in a line."""
    shown = "" if status == "done" else f"{status}: " if status == "failed" else f"{status}, "
    return f"{job.name}: {shown}{said} ({seconds:.0f} s)"


def display(total: int, stream: TextIO | None = None) -> Lines | Bars:
    """Bars on a terminal, else lines."""
    out = stream or sys.stdout
    return Bars(total, out) if out.isatty() else Lines(total, out)
