"""`repro run-chunk FILE`: the trials of one job, in gangs, and back into the queue when the time is up.

The scheduler announces the end: SIGUSR2 before the time limit, SIGTERM on preemption. While trials train, either is
turned into a checkpoint of each of them at the end of the step; elsewhere there is nothing to save, and the job stops
at once. It is then put back, starts again later, skips what has a record and continues from the checkpoints. A job that
is killed without notice loses what came after its last checkpoints, and is submitted again by `repro sweep --resume`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from repro.errors import Interrupted, ReproError, StoreError
from repro.sweeps.executors.slurm import failures, queue
from repro.sweeps.executors.slurm.attempts import Attempts
from repro.sweeps.executors.slurm.chunks import Chunk
from repro.trials.run import Outcome
from repro.trials.spec import TrialSpec

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
TERM_PATIENCE = 20.0
"""Seconds that a step may still take after SIGTERM before the job is put back regardless: Slurm kills 30 s after it, if
the site did not change KillWait."""


class Notice:
    """Hears the scheduler's signals, also while one long operation keeps Python from running handlers.

    A signal's number is written to a pipe by the interpreter's C code at once; a thread reads it there, and calls
    `overdue` if the process is still there when its patience ends.
    """

    def __init__(self, overdue: Callable[[int], object], patience: float):
        self._overdue, self._patience = overdue, {signal.SIGUSR2: patience, signal.SIGTERM: TERM_PATIENCE}
        self._received: int | None = None
        self._came = threading.Event()

    def __enter__(self) -> Notice:
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, end == self._pipe[0])
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
        threading.Thread(target=self._listen, name="notice", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)

    def received(self) -> int | None:
        """The first of `SIGNALS` that came; None if it was Ctrl-C. From now on they are ignored: we are ending."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._came.wait(1.0)  # the thread may be about to read it
        return self._received

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Outside of training there is nothing to save."""
        raise KeyboardInterrupt

    def _listen(self) -> None:
        while number := os.read(self._pipe[0], 1)[0]:
            if number in SIGNALS and self._received is None:
                self._received = number
                self._came.set()
                timer = threading.Timer(self._patience[signal.Signals(number)], self._overdue, [number])
                timer.daemon = True
                timer.start()


def train(trials: Sequence[TrialSpec], done: Callable[[TrialSpec, Outcome | Exception], None]) -> None:
    """Train them: those over one backbone as gangs (`repro.sweeps.executors.joint`), the others one after another.

    An error that nobody expected (a bug, a broken device) ends a gang without telling whose it is. So what is left then
    runs one after another, each from its checkpoint, and only the one that has the error again ends with it.

    Args:
        done: told of each trial as soon as it is known what came of it.

    Raises:
        Interrupted: asked to stop; whatever was training has a checkpoint.
    """
    from repro.sweeps.executors.joint import run_many
    from repro.trials.run import run

    left = dict(enumerate(trials))

    def settle(index: int, result: Outcome | Exception) -> None:
        done(left.pop(index), result)

    try:
        run_many(trials, settle)
    except Interrupted:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        print(f"repro: {words}: the {len(left)} trials that are left run alone", file=sys.stderr, flush=True)
    for index, trial in list(left.items()):
        try:
            settle(index, run(trial))
        except Interrupted:
            raise
        except Exception as error:  # the others still run
            settle(index, error)


class Job:
    """The trials of one chunk, as a job of this moment."""

    def __init__(self, file: Path):
        self.file, self.chunk, self.name = file, Chunk.read(file), queue.this_job()
        self.attempts = Attempts(file.with_suffix(".attempts.jsonl"))
        self.worst = 0

    def folder(self, trial: TrialSpec) -> Path:
        """A trial's run folder."""
        return trial.folder

    def left(self) -> list[TrialSpec]:
        """Trials to run: those without a record, and those that failed and are to be tried again.

        A trial of which this job knows already that it cannot run is left out when the job starts again.
        """
        found = []
        for trial in self.chunk.trials:
            try:
                record = trial.store.get(trial.key, statistics=False)
            except StoreError as error:  # a damaged one is not overwritten
                self._say(trial, error)
                continue
            if record is not None and not (record.status == "failed" and trial.config.rerun):
                continue
            note = failures.read(self.folder(trial))
            if note is not None and note.repeats and note.job == self.name and self.name is not None:
                continue
            failures.forget(self.folder(trial))
            found.append(trial)
        return found

    def run(self) -> int:
        """All of it; the exit code."""
        todo = self.left()
        self.attempts.begin(self.name, socket.gethostname(), len(todo))
        print(f"{len(self.chunk.trials)} trials, {len(todo)} to run", flush=True)
        train(todo, self._say)
        self.attempts.end(self.name, "done" if self.worst == 0 else "failed")
        return self.worst

    def _say(self, trial: TrialSpec, outcome: Outcome | Exception) -> None:
        if isinstance(outcome, Exception):
            code = outcome.exit_code if isinstance(outcome, ReproError) else 1
            self.worst = max(self.worst, code)
            failures.note(self.folder(trial), failures.failure(outcome, self.name))
            print(f"repro: {' '.join(trial.words)}: {type(outcome).__name__}: {outcome}", file=sys.stderr, flush=True)
            if not isinstance(outcome, ReproError):
                _traceback(outcome)
            return
        if outcome.record is not None:
            from repro.report.pages.trial_summary import trial_summary

            print(trial_summary(outcome.record, outcome.from_store), flush=True)

    def again(self, number: int, most: int) -> str:
        """Put this job back into the queue if that makes sense; says what was done.

        Args:
            number: the signal that ended it.
            most: how many times a job may be put back.
        """
        why = signal.Signals(number).name
        reached = self._reached()
        if self.name is None:
            return f"{why}: stopped; the same command continues (there is no Slurm job to put back)"
        if number == signal.SIGTERM and queue.being_ended(self.name):
            self.attempts.end(self.name, "ended", reached)
            return f"{why}: Slurm ends job {self.name} (cancelled, or its node is lost), so it does not put itself back"
        if number == signal.SIGUSR2 and reached <= self.attempts.reached():
            self.attempts.end(self.name, "stuck", reached)
            return (
                f"{why}: job {self.name} is not put back: since its last start it got no further. Raise "
                "hydra.launcher.time, or lower trainer.checkpoint_seconds"
            )
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) >= most:
            self.attempts.end(self.name, "too often", reached)
            return f"{why}: job {self.name} was put back {most} times already (hydra.launcher.max_requeues)"
        self.attempts.end(self.name, "requeued", reached)
        problem = queue.put_back(self.name)
        return f"{why}: job {self.name} is put back" if problem is None else f"{why}: cannot be put back: {problem}"

    def _reached(self) -> list[int]:
        """How far the job is: trials with an end, and steps of the others. Larger is further."""
        from repro.store import progress

        ended, steps = 0, 0
        for trial in self.chunk.trials:
            records = trial.store
            said = progress.read(self.folder(trial))
            if records.path(trial.key).is_file() or failures.read(self.folder(trial)) is not None:
                ended += 1
            elif said is not None:
                steps += said.step
        return [ended, steps]


def _traceback(error: Exception) -> None:
    import traceback

    traceback.print_exception(error)


def run_chunk(file: Path, max_requeues: int, signal_seconds: float) -> int:
    """Run the trials of a job's file; the exit code.

    Args:
        file: `array-N/M.json` of a submission.
        max_requeues, signal_seconds: as in hydra.launcher.

    Raises:
        StoreError: the file or the folder in which the trials were asked for is not there.
    """
    job = Job(file.absolute())
    try:
        os.chdir(job.chunk.folder)
    except OSError as error:
        raise StoreError(
            f"{job.chunk.folder}: the folder in which the trials were asked for cannot be entered here ({error}). It "
            "must be on a file system that the nodes share."
        ) from error

    def overdue(number: int) -> None:
        print(f"repro: {job.again(number, max_requeues)}: its step took too long", file=sys.stderr, flush=True)
        os._exit(Interrupted.exit_code)

    with Notice(overdue, signal_seconds / 2) as notice:
        try:
            return job.run()
        except (Interrupted, KeyboardInterrupt) as error:
            number = notice.received()
            said = str(error) if number is None else job.again(number, max_requeues)
            print(f"repro: {said or 'interrupted'}", file=sys.stderr, flush=True)
            return Interrupted.exit_code
