"""Progress overall and of each running trial: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self, TextIO

from repro.errors import ReproError
from repro.sweeps.executors.base import Result
from repro.sweeps.executors.processes import Worker
from repro.sweeps.executors.time_left import Clock, minutes
from repro.trials.spec import TrialSpec

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_SECONDS = 15.0
"""Where there is no terminal, a line about running trials at most this often."""


class Lines:
    """A line for every trial that ends, and one about those that run every few seconds.

    Args:
        names: {run key: the trial's name} of all trials.
    """

    def __init__(self, names: Mapping[str, str], stream: TextIO):
        self._names, self._stream = names, stream
        self._ended, self._printed = 0, time.monotonic()
        self._started: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def started(self, spec: TrialSpec) -> None:
        """A trial begins."""
        self._started[spec.key] = time.monotonic()

    def ended(self, spec: TrialSpec, result: Result) -> None:
        """A trial is over."""
        self._ended += 1
        line = result_line(self._names[spec.key], result, time.monotonic() - self._started.pop(spec.key))
        self.message(f"{self._ended}/{len(self._names)} {line}")

    def tick(self, workers: Sequence[Worker], clock: Clock) -> None:
        """What runs now, and the time left."""
        if time.monotonic() - self._printed < LINE_SECONDS:
            return
        running = [f"{self._names[w.spec.key]}: step {w.step}/{w.steps}" for w in workers if w.spec is not None]
        self.message(f"{clock.share:.0%} done, {minutes(clock.left)} left. Running: {'; '.join(running)}")

    def message(self, text: str) -> None:
        """A line."""
        self._printed = time.monotonic()
        print(text, file=self._stream, flush=True)


class Bars(Lines):
    """On a terminal: one bar for everything and one for each running trial, lines above them."""

    def __init__(self, names: Mapping[str, str], stream: TextIO):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        super().__init__(names, stream)
        texts = [TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}")]
        self._progress = Progress(texts[0], BarColumn(), texts[1], console=Console(file=stream))
        self._all = self._progress.add_task("all trials", total=1.0, note=f"0/{len(names)}")
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, spec: TrialSpec) -> None:
        """A new bar."""
        super().started(spec)
        self._bars[spec.key] = self._progress.add_task(f"  {self._names[spec.key]}", total=None, note="loading")

    def ended(self, spec: TrialSpec, result: Result) -> None:
        """A line in place of the bar."""
        self._progress.remove_task(self._bars.pop(spec.key))
        super().ended(spec, result)

    def tick(self, workers: Sequence[Worker], clock: Clock) -> None:
        """Move the bars."""
        note = f"{self._ended}/{len(self._names)}  {minutes(clock.left)} left"
        self._progress.update(self._all, completed=clock.share, note=note)
        for worker in workers:
            if worker.spec is not None and worker.steps and (bar := self._bars.get(worker.spec.key)) is not None:
                note = f"step {worker.step}/{worker.steps}"
                self._progress.update(bar, total=worker.steps, completed=worker.step, note=note)

    def message(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False)


def result_line(name: str, result: Result, seconds: float) -> str:
    """What came out of a trial."""
    if isinstance(result, ReproError) or result.record is None:
        return f"{name}: failed: {result if isinstance(result, ReproError) else 'no record'} ({seconds:.0f} s)"
    record = result.record
    metric = str(record.selection.get("metric"))
    values = record.metrics.get(record.config["task"]["report_split"], {})
    score = values.get(metric, next(iter(values.values()), None))
    shown = [] if record.status == "done" else [record.status]
    shown += [] if score is None else [f"{metric} {score:.1f}"]
    return f"{name}: {', '.join(shown)} ({seconds:.0f} s)"


def display(names: Mapping[str, str], stream: TextIO | None = None) -> Lines:
    """Bars on a terminal, else lines.

    Args:
        names: {run key: the trial's name} of all trials.
    """
    out = stream or sys.stdout
    return Bars(names, out) if out.isatty() else Lines(names, out)
