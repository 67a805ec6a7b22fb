"""Progress output: a bar with loss, speed and time left, the tracker, and the signals that end a run cleanly."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Protocol

from repro.errors import Interrupted, print_line
from repro.store.progress import ProgressFile
from repro.training.checkpoint import CurveRow, Progress
from repro.training.distributed.process_group import ProcessGroup

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)
"""Ctrl-C, `kill` and a scheduler's preemption, Slurm's warning before a time limit (`--signal=USR2@...`), a terminal
that is closed (unless `nohup` has this one ignored)."""

LINE_SECONDS = 15.0
"""Without a terminal, at most one line in this time."""


class CurveTracker(Protocol):
    """Gets the curves of a run."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...


class StopRequest:
    """Remembers a signal that asked the process to end, so that its trials save first; they share one."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that came."""
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> StopRequest:
        for number in SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: the caller handles signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:  # the second Ctrl-C does not wait for the step to end
            raise KeyboardInterrupt
        self.number = number


class _Bar:
    """A progress bar on the terminal."""

    def __init__(self, name: str, steps: int) -> None:
        from rich import progress as rich_progress
        from rich.console import Console

        self._bar = rich_progress.Progress(
            *(rich_progress.TextColumn(text) for text in ("{task.description}", "{task.fields[note]}")),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bar.start()
        self._task = self._bar.add_task(name, total=steps, note="")
        self.stop = self._bar.stop

    def update(self, step: int, note: str) -> None:
        """Show how far the trial is."""
        self._bar.update(self._task, completed=step, note=note)

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, highlight=False)


class ProgressReporter:
    """Prints progress to standard error, passes curves to the tracker, and turns `SIGNALS` into a checkpoint.

    Args:
        name: of the run, for the bar.
        steps: updates in all.
        tracker: gets training loss and evaluations.
        file: where `repro status` reads the progress of the trial.
        stop: shared by trials that train jointly, which have no bar; None: one of its own.
        on_step: called with (steps done, steps in all) after every step.
        processes: the processes that train the trial: the first prints, and all stop together.
    """

    def __init__(
        self,
        name: str,
        steps: int,
        tracker: CurveTracker,
        file: ProgressFile | None = None,
        stop: StopRequest | None = None,
        on_step: Callable[[int, int], object] | None = None,
        processes: ProcessGroup | None = None,
    ):
        self._processes, self._prints = processes, processes is None or processes.first
        self.name, self.steps, self.tracker, self.file, self.on_step = name, steps, tracker, file, on_step
        self._alone, self._stop = stop is None, stop or StopRequest()
        self._started: tuple[float, int, int] | None = None
        self._bar: _Bar | None = None
        self._printed_at = 0.0

    def __enter__(self) -> ProgressReporter:
        if self._alone:
            self._stop.__enter__()
            if self._prints and sys.stderr.isatty():
                self._bar = _Bar(self.name, self.steps)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._alone:
            self._stop.__exit__()

    def stop_if_asked(self, save: Callable[[], None]) -> None:
        """Raises Interrupted after `save()` if a signal came."""
        asked = self._stop.number is not None
        if not (asked if self._processes is None else self._processes.any(asked)):
            return
        save()
        if self.file is not None:
            self.file.close()
        raise Interrupted(f"{self.name}: stopped after a checkpoint; the same command continues it.")

    def between(self, count: int) -> None:
        """Called between evaluation batches: a signal ends the evaluation, which is repeated on resuming."""
        if self.file is not None:
            self.file.evaluating()
        self.stop_if_asked(lambda: None)

    def step(self, progress: Progress, loss: float) -> None:
        """Show one training step."""
        now = time.monotonic()
        if self._started is None:
            self._started = (now, progress.step, progress.tokens)
        began, step0, tokens0 = self._started
        speed = (progress.tokens - tokens0) / (now - began) if now > began else 0.0
        note = f"loss {loss:.3f}  {speed:,.0f} tokens/s"
        self.tracker.log({"train/loss": loss, "train/tokens_per_second": speed}, progress.step)
        if self.file is not None:
            self.file.trained(progress.step, loss)
        if self.on_step is not None:
            self.on_step(progress.step, self.steps)
        if self._bar is not None:
            self._bar.update(progress.step, note)
        elif now - self._printed_at > LINE_SECONDS:
            self._printed_at = now
            left = (now - began) / max(1, progress.step - step0) * (self.steps - progress.step)
            self._print(f"step {progress.step}/{self.steps}  {note}  {left:,.0f} s left")

    def evaluated(self, progress: Progress, row: CurveRow) -> None:
        """Show one evaluation."""
        splits = {name: values for name, values in row.items() if isinstance(values, Mapping)}
        self.tracker.log(
            {f"{split}/{name}": value for split, values in splits.items() for name, value in values.items()},
            progress.step,
        )
        scores = [f"{split} {name} {v:.2f}" for split, values in splits.items() for name, v in list(values.items())[:2]]
        if self.file is not None and scores:
            self.file.evaluated(scores[0])
        loss = [] if row["train_loss"] is None else [f"loss {row['train_loss']:.3f}"]
        self._print("  ".join([f"epoch {row['epoch']:g}", *loss, *scores]))

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.print(f"{self.name}: {text}")
        elif self._prints:
            print_line(f"{self.name}: {text}", sys.stderr)
