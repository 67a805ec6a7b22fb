"""A pool of worker processes with one thread each: a worker takes the next trial when it has ended its last."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from repro.errors import Interrupted, StoreError, TrialFailed
from repro.sweeps.executors.base import OnResult
from repro.sweeps.executors.time_left import Clock
from repro.trials.run import Outcome
from repro.trials.spec import TrialSpec

_TICK = 0.5
"""Seconds between two looks at the clock."""


@dataclass
class Worker:
    """A process, and the trial that it runs."""

    process: subprocess.Popen[bytes]
    stdin: IO[bytes]
    """Where its trials go."""
    stdout: IO[bytes]
    """Where its progress comes from."""
    log: Path
    spec: TrialSpec | None = None
    started: float = 0.0
    step: int = 0
    steps: int = 0
    unread: bytes = b""
    """The beginning of a line whose end has not come yet."""

    @property
    def share(self) -> float:
        """Share of its trial's steps that is done."""
        return self.step / self.steps if self.steps else 0.0


class Display(Protocol):
    """Shows the progress of many trials."""

    def started(self, spec: TrialSpec) -> None:
        """A worker begins a trial."""

    def tick(self, workers: Sequence[Worker], clock: Clock) -> None:
        """Called a few times a second."""

    def message(self, text: str) -> None:
        """Show a line."""


@dataclass
class Processes:
    """Runs trials in worker processes.

    Args:
        count: worker processes.
        logs: folder for what the workers print.
        display: shows progress.
        seconds: {run key: expected duration}, for the time that is left.
    """

    count: int
    logs: Path
    display: Display
    seconds: Mapping[str, float]
    workers: list[Worker] = field(default_factory=list)
    returns_early = False

    def run(self, specs: Sequence[TrialSpec], on_result: OnResult) -> None:
        """See `Executor.run`."""
        self._waiting, self._on_result, self._ended = list(specs), on_result, 0
        self._clock = Clock({spec.key: self.seconds[spec.key] for spec in specs}, min(self.count, max(len(specs), 1)))
        self._selector = selectors.DefaultSelector()
        # Ctrl-C too: a shell starts a background job with it ignored, and somebody may still send it.
        handlers = {number: signal.signal(number, _as_interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for _ in range(min(self.count, len(specs))):
                self._start_worker()
            while any(worker.spec for worker in self.workers):
                for key, _ in self._selector.select(_TICK):
                    self._read(key.data)
                now = time.monotonic()
                busy = [(worker, worker.spec) for worker in self.workers if worker.spec is not None]
                self._clock.running = {spec.key: (now - worker.started, worker.share) for worker, spec in busy}
                self.display.tick(self.workers, self._clock)
        except KeyboardInterrupt:
            self.display.message("stopping after a checkpoint of every running trial ...")
            self._stop()
            raise Interrupted(
                f"stopped with {self._ended} of {len(specs)} trials done; the same command goes on from here."
            ) from None
        finally:
            self._close()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _start_worker(self) -> None:
        log = self.logs / f"worker-{len(self.workers) + 1}.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as stream:
                process = subprocess.Popen(
                    [sys.executable, "-m", "repro.sweeps.executors.process_worker", str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                    start_new_session=True,  # the terminal's Ctrl-C comes to us alone, and we pass it on
                )
        except OSError as error:
            why = f"{log}: cannot be written ({error.strerror}). Choose another folder with --runs."
            raise StoreError(why) from error
        assert process.stdin is not None and process.stdout is not None
        worker = Worker(process, process.stdin, process.stdout, log)
        self.workers.append(worker)
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        self._assign(worker)

    def _assign(self, worker: Worker) -> None:
        """Give a worker its next trial; with none left, close its input, which ends it."""
        worker.spec, worker.step, worker.steps, worker.started = None, 0, 0, time.monotonic()
        if not self._waiting:
            worker.stdin.close()
            return
        worker.spec = self._waiting.pop(0)
        self.display.started(worker.spec)
        with contextlib.suppress(BrokenPipeError):  # it has died: the end of its output says so as well
            worker.stdin.write(json.dumps(worker.spec.to_dict()).encode() + b"\n")
            worker.stdin.flush()

    def _read(self, worker: Worker) -> None:
        data = os.read(worker.stdout.fileno(), 65536)
        if not data:
            self._worker_ended(worker)
            return
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "step" in message:
                worker.step, worker.steps = message["step"], message["steps"]
            elif worker.spec is not None and "stopped" not in message:
                self._trial_ended(worker, worker.spec, message.get("failed"))
                self._assign(worker)

    def _trial_ended(self, worker: Worker, spec: TrialSpec, failure: str | None) -> None:
        self._ended += 1
        self._clock.over(spec.key, None if failure is not None else time.monotonic() - worker.started)
        if failure is not None:
            self._on_result(spec, TrialFailed(failure))
        else:
            self._on_result(spec, Outcome(spec.store.get(spec.key), False, spec.folder))

    def _worker_ended(self, worker: Worker) -> None:
        """A worker ended. In the middle of a trial: that trial has failed, and a new worker takes its place."""
        self._selector.unregister(worker.stdout)
        code, spec = worker.process.wait(), worker.spec
        worker.spec = None
        if spec is None:
            return
        self._trial_ended(worker, spec, f"its process ended with code {code}; its last output is in {worker.log}")
        if self._waiting:
            self._start_worker()

    def _stop(self) -> None:
        """Ask the workers to end, and wait; asked a second time, do not wait."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        try:
            for worker in self.workers:
                worker.process.wait()
        except KeyboardInterrupt:
            self.display.message("not waiting: what was not saved is lost")

    def _close(self) -> None:
        for worker in self.workers:
            for stream in (worker.stdin, worker.stdout):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
            try:
                worker.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._selector.close()


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
