"""`repro run-chunk FOLDER TASK`: the trials of one task of a job array, which requeues itself when its time is up.

The scheduler announces the end: SIGUSR2 before the time limit, SIGTERM on preemption. Trials in training then write a
checkpoint at the end of the step; at other moments there is nothing to save. The job is then
requeued; when it starts again it skips what has a record and continues from the checkpoints. A job that is killed
without notice loses what came after its last checkpoints, and `repro sweep --resume` submits it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from repro.config.conversion import from_plain
from repro.errors import ConfigError, Interrupted, ReproError, StoreError, print_line
from repro.store import progress
from repro.store.files import append_line
from repro.sweeps.executors.base import Result
from repro.sweeps.executors.joint import Joint
from repro.sweeps.executors.serial import Serial
from repro.sweeps.executors.slurm import arrays, failures, queue
from repro.sweeps.executors.slurm.settings import Settings
from repro.sweeps.sweep import print_result
from repro.trials.spec import TrialSpec

TERM_SECONDS = 20.0
"""How long a step may still take after SIGTERM before the job is requeued regardless: Slurm kills 30 s after it, if the
site did not change KillWait."""


@contextlib.contextmanager
def scheduler_signals(overdue: Callable[[int], object], warned_seconds: float) -> Iterator[Callable[[], int | None]]:
    """Turn SIGUSR2 and SIGTERM into KeyboardInterrupt; yields what tells which came first (None: it was Ctrl-C).

    The interpreter's C code writes a signal's number to a pipe at once, also while one long operation keeps Python from
    running handlers. A thread reads it there, and calls `overdue` if the process still lives when its time is up.
    """
    patience = {int(signal.SIGUSR2): warned_seconds, int(signal.SIGTERM): TERM_SECONDS}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    received, arrived = [], threading.Event()

    def listen() -> None:
        while (number := os.read(reading, 1)[0]) not in patience:
            pass
        received.append(number)
        arrived.set()
        time.sleep(patience[number])
        overdue(number)

    def first() -> int | None:
        for number in patience:
            signal.signal(number, signal.SIG_IGN)
        arrived.wait(1.0)  # the thread may be about to read it
        return received[0] if received else None

    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (*patience, signal.SIGINT):  # a shell's background job has SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    threading.Thread(target=listen, name="signals", daemon=True).start()
    try:
        yield first
    finally:
        signal.set_wakeup_fd(-1)


@dataclass(frozen=True)
class Event:
    """A line of a task's log: how an attempt began or ended."""

    event: str
    job: str | None
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    host: str = field(default_factory=socket.gethostname)
    reached: list[int] = field(default_factory=list)
    """See `Job._reached`."""


class Job:
    """One task of an array, as a job of this moment.

    Args:
        folder: of the array.
        number: of the task.
    """

    def __init__(self, folder: Path, number: int):
        array = arrays.read(folder)
        if not 0 <= number < len(array.tasks):
            raise ConfigError(f"{folder}: its tasks are 0 to {len(array.tasks) - 1}, not {number}.")
        self.folder, self.directory = folder, array.directory
        self.settings = Settings.of(array.settings)
        self.specs = [trial.spec() for trial in array.tasks[number]]
        self.name = queue.this_job()
        self._log = folder / f"{number}.attempts.jsonl"
        self.exit_code = 0

    def missing(self) -> list[TrialSpec]:
        """Trials to run: those without a record, and those that failed and are to be tried again.

        A trial of which this very job knows already that it cannot run is left out when the job starts again.
        """
        missing = []
        for spec in self.specs:
            try:
                record = spec.store.get(spec.key, statistics=False)
            except StoreError as error:  # a damaged one is not overwritten
                self._note(spec, error)
                continue
            if record is not None and not (record.status == "failed" and spec.config.rerun):
                continue
            failure = failures.read(spec.folder)
            if failure is not None and failure.permanent and failure.job == self.name and self.name is not None:
                continue
            failures.forget(spec.folder)
            missing.append(spec)
        return missing

    def run(self) -> int:
        """Run what is missing; the exit code.

        An error that nobody expected (a bug, a broken device) ends joint training without telling which trial it
        concerns. What is left then runs one after another, from its checkpoints; only the trial with the error fails.
        """
        left = {spec.key: spec for spec in self.missing()}
        self._log_event("begin")
        print_line(f"{len(self.specs)} trials, {len(left)} to run")

        def on_result(spec: TrialSpec, result: Result | Exception) -> None:
            del left[spec.key]
            self._note(spec, result)

        try:
            Joint().run(list(left.values()), on_result)
        except Interrupted:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            print_line(f"repro: {why}: the {len(left)} trials that are left run alone", sys.stderr)
        for spec in list(left.values()):
            try:
                Serial().run([spec], on_result)
            except Interrupted:
                raise
            except Exception as error:  # the others still run
                on_result(spec, error)
        self._log_event("done" if self.exit_code == 0 else "failed")
        return self.exit_code

    def _note(self, spec: TrialSpec, result: Result | Exception) -> None:
        if isinstance(result, Exception):
            failures.note(spec.folder, result, self.name)
            print_line(f"repro: {' '.join(spec.words)}: {type(result).__name__}: {result}", sys.stderr)
            if not isinstance(result, ReproError):
                traceback.print_exception(result)
            self.exit_code = max(self.exit_code, result.exit_code if isinstance(result, ReproError) else 1)
        else:
            print_result(result)

    def requeue(self, number: int) -> str:
        """Requeue this job if that makes sense; says what was done.

        Args:
            number: the signal that ended it.
        """
        why, reached, most = signal.Signals(number).name, self._reached(), self.settings.max_requeues
        if self.name is None:
            return f"{why}: stopped; the same command continues (there is no Slurm job to requeue)"
        if number == signal.SIGTERM and queue.being_ended(self.name):
            self._log_event("ended", reached)
            return f"{why}: Slurm ends job {self.name} (cancelled, or its node is lost), so it does not requeue itself"
        before = [event.reached for event in self.events() if event.event == "requeued"]
        if number == signal.SIGUSR2 and before and reached <= before[-1]:
            self._log_event("stuck", reached)
            return (
                f"{why}: job {self.name} is not requeued: since its last start it got no further. Raise "
                "hydra.launcher.time, or lower trainer.checkpoint_seconds"
            )
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) >= most:
            self._log_event("too often", reached)
            return f"{why}: job {self.name} was requeued {most} times already (hydra.launcher.max_requeues)"
        self._log_event("requeued", reached)
        done, problem = queue.ask("scontrol", "requeue", self.name)
        return f"{why}: job {self.name} is requeued" if done is not None else f"{why}: cannot be requeued: {problem}"

    def _reached(self) -> list[int]:
        """How far the job is: trials with an end, and steps of the others. Larger is further."""
        ended, steps = 0, 0
        for spec in self.specs:
            running = progress.read(spec.folder)
            if spec.store.path(spec.key).is_file() or failures.read(spec.folder) is not None:
                ended += 1
            elif running is not None:
                steps += running.step
        return [ended, steps]

    def events(self) -> list[Event]:
        """How each attempt of the task began and ended; lines that cannot be read are left out."""
        events = []
        with contextlib.suppress(OSError):
            for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, RecursionError, ConfigError):
                    events.append(from_plain(Event, json.loads(line), {}))
        return events

    def _log_event(self, event: str, reached: list[int] | None = None) -> None:
        """One line in the task's log. A log that cannot be written stops nothing."""
        with contextlib.suppress(StoreError):
            append_line(self._log, json.dumps(asdict(Event(event, self.name, reached=reached or []))))


def run_task(folder: Path, number: int) -> int:
    """Run the trials of a task, as a job of Slurm or by hand; the exit code.

    Raises:
        ConfigError: there is no such array or task.
        StoreError: the folder where the trials were asked for cannot be entered.
    """
    job = Job(folder.absolute(), number)
    try:
        os.chdir(job.directory)
    except OSError as error:
        raise StoreError(
            f"{job.directory}: the folder in which the trials were asked for cannot be entered here ({error}). It must "
            "be on a file system that the nodes share."
        ) from error

    def overdue(received: int) -> None:
        print_line(f"repro: {job.requeue(received)}: its step took too long", sys.stderr)
        os._exit(Interrupted.exit_code)

    with scheduler_signals(overdue, job.settings.signal_seconds / 2) as first:
        try:
            return job.run()
        except (Interrupted, KeyboardInterrupt) as error:
            received = first()
            message = str(error) if received is None else job.requeue(received)
            print_line(f"repro: {message or 'interrupted'}", sys.stderr)
            return Interrupted.exit_code
