"""A progress bar with loss, tokens a second and time left, the tracker, and the signals that end a run politely."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from repro.errors import Interrupted, print_line
from repro.store.progress import ProgressFile
from repro.training.checkpoint import Progress
from repro.training.distributed.process_group import ProcessGroup

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Ctrl-C, `kill` and a scheduler's preemption, Slurm's warning before a time limit (`--signal=USR2@...`)."""

LINE_SECONDS = 15.0
"""Where there is no terminal, a line at most this often."""


class StopRequest:
    """Remembers that a signal asked the process to end: the trials in it save first. One for all trials of a gang."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that came."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in SIGNALS:
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: whoever runs us handles signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:  # asked twice: do not wait for the step to end
            raise KeyboardInterrupt
        self.number = number


class ProgressReporter:
    """Prints progress to standard error, passes curves to the tracker, and turns `SIGNALS` into a checkpoint.

    Args:
        name: what runs, for the bar.
        steps: updates in all.
        tracker: gets training loss and evaluations.
        file: where `repro status` reads how far the trial is.
        stop: of a gang, whose trials share it, and share the terminal: there is no bar then. None: one of its own.
        on_step: called with (steps done, steps in all) after every step.
        ranks: the processes that train the trial: the first prints, and all stop together.
    """

    def __init__(
        self,
        name: str,
        steps: int,
        tracker: Any,
        file: ProgressFile | None = None,
        stop: StopRequest | None = None,
        on_step: Callable[[int, int], object] | None = None,
        ranks: ProcessGroup | None = None,
    ):
        self._ranks, self._prints = ranks, ranks is None or ranks.first
        self.name, self.steps, self.tracker, self.file, self.on_step = name, steps, tracker, file, on_step
        self._alone, self._stop = stop is None, stop or StopRequest()
        self._started: tuple[float, int, int] | None = None
        self._bar: Any = None
        self._task: Any = None
        self._said = 0.0

    def __enter__(self) -> ProgressReporter:
        if self._alone:
            self._stop.__enter__()
        if self._alone and self._prints and sys.stderr.isatty():
            from rich import progress as rich_progress
            from rich.console import Console as Terminal

            self._bar = rich_progress.Progress(
                *(rich_progress.TextColumn(text) for text in ("{task.description}", "{task.fields[note]}")),
                rich_progress.BarColumn(),
                rich_progress.MofNCompleteColumn(),
                rich_progress.TimeRemainingColumn(),
                console=Terminal(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.name, total=self.steps, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._alone:
            self._stop.__exit__()

    def stop_if_asked(self, save: Callable[[], None]) -> None:
        """Raises Interrupted after `save()` if a signal came."""
        asked = self._stop.number is not None
        if not (asked if self._ranks is None else self._ranks.any(asked)):
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
            self._bar.update(self._task, completed=progress.step, note=note)
        elif now - self._said > LINE_SECONDS:
            self._said = now
            left = (now - began) / max(1, progress.step - step0) * (self.steps - progress.step)
            self._print(f"step {progress.step}/{self.steps}  {note}  {left:,.0f} s left")

    def evaluated(self, progress: Progress, row: Mapping[str, Any]) -> None:
        """Show one evaluation."""
        splits = {name: values for name, values in row.items() if isinstance(values, Mapping)}
        self.tracker.log(
            {f"{split}/{name}": value for split, values in splits.items() for name, value in values.items()},
            progress.step,
        )
        scores = "  ".join(
            f"{split} {n} {v:.2f}" for split, values in splits.items() for n, v in list(values.items())[:2]
        )
        if self.file is not None and scores:
            self.file.evaluated(scores.split("  ")[0])
        loss = "" if row["train_loss"] is None else f"loss {row['train_loss']:.3f}  "
        self._print(f"epoch {row['epoch']:g}  {loss}{scores}")

    def _print(self, text: str) -> None:
        if not self._prints:
            return
        if self._bar is not None:
            self._bar.console.print(f"{self.name}: {text}", highlight=False)
        else:
            print_line(f"{self.name}: {text}", sys.stderr)
