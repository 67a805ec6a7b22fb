"""`repro run-chunk FOLDER TASK`: the trials of one task of a job array, which requeues itself when its time is up.

The scheduler announces the end: SIGUSR2 before the time limit, SIGTERM on preemption. While trials train, either is
turned into a checkpoint of each of them at the end of the step; at other moments there is nothing to save. The job is
then requeued; when it starts again it skips what has a record and continues from the checkpoints. A job that is killed
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
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from repro.errors import ConfigError, Interrupted, ReproError, StoreError, print_line
from repro.store import progress
from repro.store.files import append_line
from repro.sweeps.executors.joint import Joint
from repro.sweeps.executors.serial import Serial
from repro.sweeps.executors.slurm import arrays, failures, queue
from repro.sweeps.executors.slurm.settings import Settings
from repro.trials.run import Outcome
from repro.trials.spec import TrialSpec

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
TERM_SECONDS = 20.0
"""How long a step may still take after SIGTERM before the job is requeued regardless: Slurm kills 30 s after it, if the
site did not change KillWait."""


class SignalWatch:
    """Hears the scheduler's signals, also while one long operation keeps Python from running handlers.

    The interpreter's C code writes a signal's number to a pipe at once; a thread reads it there, and calls `overdue` if
    the process still lives when its time is up.
    """

    def __init__(self, overdue: Callable[[int], object], warned_seconds: float):
        self._overdue, self._seconds = overdue, {signal.SIGUSR2: warned_seconds, signal.SIGTERM: TERM_SECONDS}
        self._number: int | None = None
        self._arrived = threading.Event()

    def __enter__(self) -> SignalWatch:
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, end == self._pipe[0])
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _interrupt)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)

    def received(self) -> int | None:
        """The first of `SIGNALS` that came; None if it was Ctrl-C. From now on they are ignored."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._arrived.wait(1.0)  # the thread may be about to read it
        return self._number

    def _listen(self) -> None:
        while number := os.read(self._pipe[0], 1)[0]:
            if number in SIGNALS and self._number is None:
                self._number = number
                self._arrived.set()
                timer = threading.Timer(self._seconds[signal.Signals(number)], self._overdue, [number])
                timer.daemon = True
                timer.start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Outside of training there is nothing to save."""
    raise KeyboardInterrupt


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
        self.folder, self.directory, self.settings = folder, array.directory, Settings.of(array.settings)
        self.specs = [TrialSpec.from_dict(trial.data) for trial in array.tasks[number]]
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
        self._log_event("begin", host=socket.gethostname(), trials=len(left))
        print_line(f"{len(self.specs)} trials, {len(left)} to run")

        def on_result(spec: TrialSpec, result: Outcome | Exception) -> None:
            del left[spec.key]
            self._note(spec, result)

        try:
            Joint().run(list(left.values()), on_result)
        except Interrupted:
            raise
        except Exception as error:
            print_line(
                f"repro: {type(error).__name__}: {error}: the {len(left)} trials that are left run alone", sys.stderr
            )
        for spec in list(left.values()):
            try:
                Serial().run([spec], on_result)
            except Interrupted:
                raise
            except Exception as error:  # the others still run
                on_result(spec, error)
        self._log_event("done" if self.exit_code == 0 else "failed")
        return self.exit_code

    def _note(self, spec: TrialSpec, result: Outcome | Exception) -> None:
        if isinstance(result, Outcome):
            if result.record is not None:
                from repro.report.pages.trial_summary import trial_summary

                print_line(trial_summary(result.record, result.from_store))
            return
        self.exit_code = max(self.exit_code, result.exit_code if isinstance(result, ReproError) else 1)
        failures.note(spec.folder, result, self.name)
        print_line(f"repro: {' '.join(spec.command[2:])}: {type(result).__name__}: {result}", sys.stderr)
        if not isinstance(result, ReproError):
            traceback.print_exception(result)

    def requeue(self, number: int) -> str:
        """Requeue this job if that makes sense; says what was done.

        Args:
            number: the signal that ended it.
        """
        why, reached, most = signal.Signals(number).name, self._reached(), self.settings.max_requeues
        if self.name is None:
            return f"{why}: stopped; the same command continues (there is no Slurm job to requeue)"
        if number == signal.SIGTERM and queue.being_ended(self.name):
            self._log_event("ended", reached=reached)
            return f"{why}: Slurm ends job {self.name} (cancelled, or its node is lost), so it does not requeue itself"
        if number == signal.SIGUSR2 and reached <= self._reached_before():
            self._log_event("stuck", reached=reached)
            return (
                f"{why}: job {self.name} is not requeued: since its last start it got no further. Raise "
                "hydra.launcher.time, or lower trainer.checkpoint_seconds"
            )
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) >= most:
            self._log_event("too often", reached=reached)
            return f"{why}: job {self.name} was requeued {most} times already (hydra.launcher.max_requeues)"
        self._log_event("requeued", reached=reached)
        problem = queue.requeue(self.name)
        return f"{why}: job {self.name} is requeued" if problem is None else f"{why}: cannot be requeued: {problem}"

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

    def events(self) -> list[dict[str, Any]]:
        """How each attempt of the task began and ended."""
        events = []
        with contextlib.suppress(OSError):
            for line in self._log.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    events.append(json.loads(line))
        return events

    def _reached_before(self) -> list[int]:
        """How far the job was when it was last requeued; less than anything if it never was."""
        known = [event["reached"] for event in self.events() if event.get("event") == "requeued"]
        return known[-1] if known else [-1, -1]

    def _log_event(self, event: str, **facts: object) -> None:
        """One line in the task's log. A log that cannot be written stops nothing."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, "job": self.name, **facts}
        with contextlib.suppress(StoreError):
            append_line(self._log, json.dumps(line))


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

    with SignalWatch(overdue, job.settings.signal_seconds / 2) as watch:
        try:
            return job.run()
        except (Interrupted, KeyboardInterrupt) as error:
            received = watch.received()
            message = str(error) if received is None else job.requeue(received)
            print_line(f"repro: {message or 'interrupted'}", sys.stderr)
            return Interrupted.exit_code
