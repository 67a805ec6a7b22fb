"""Worker processes and the trials that they share: each takes the next one when it has ended its own."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from repro.errors import Interrupted, StoreError
from repro.sweeps.executors.time_left import Clock
from repro.sweeps.miniature.planning import Job

_TICK = 0.5
"""Seconds between two looks at the clock."""


class Watcher(Protocol):
    """Who shows what happens."""

    def started(self, job: Job) -> None: ...

    def ended(self, job: Job, status: str, said: str, seconds: float) -> None: ...

    def tick(self, crew: Crew) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass
class Worker:
    """A process, and the trial that it runs."""

    process: subprocess.Popen[bytes]
    log: Path
    job: Job | None = None
    began: float = 0.0
    step: int = 0
    of: int = 0
    pending: bytes = b""
    """What came of a line that has not ended."""

    @property
    def share(self) -> float:
        """Share of its steps that is done."""
        return self.step / self.of if self.of else 0.0


@dataclass
class Crew:
    """Runs all jobs.

    Args:
        jobs: in the order in which they start.
        count: worker processes, each with one thread.
        logs: folder for what the workers print.
    """

    jobs: Sequence[Job]
    count: int
    logs: Path
    failures: dict[str, str] = field(default_factory=dict)
    """{name of a trial: why it has no result}"""
    workers: list[Worker] = field(default_factory=list)
    ended: int = 0

    def __post_init__(self) -> None:
        self.clock = Clock({job.key: job.seconds for job in self.jobs}, min(self.count, max(len(self.jobs), 1)))
        self._waiting = list(self.jobs)
        self._selector = selectors.DefaultSelector()

    def run(self, watcher: Watcher) -> None:
        """Until every trial has ended.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; the workers wrote checkpoints, and the same command continues.
        """
        # Ctrl-C too: a shell starts a background job with it ignored, and somebody may still send it.
        before = {number: signal.signal(number, _as_interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for _ in range(min(self.count, len(self.jobs))):
                self._hire(watcher)
            while any(worker.job for worker in self.workers):
                for key, _ in self._selector.select(_TICK):
                    self._read(key.data, watcher)
                self._note_time()
                watcher.tick(self)
        except KeyboardInterrupt:
            watcher.say("stopping after a checkpoint of every running trial ...")
            self._stop(watcher)
            raise Interrupted(
                f"stopped with {self.ended} of {len(self.jobs)} trials done; the same command goes on from here."
            ) from None
        finally:
            self._dismiss()
            for number, handler in before.items():
                signal.signal(number, handler)

    # ---- workers

    def _hire(self, watcher: Watcher) -> None:
        log = self.logs / f"worker-{len(self.workers) + 1}.log"
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as stream:
                process = subprocess.Popen(
                    [sys.executable, "-m", "repro.sweeps.executors.process_worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    env=environment,
                    start_new_session=True,  # the terminal's Ctrl-C comes to us alone, and we pass it on
                )
        except OSError as error:
            why = f"{log}: cannot be written ({error.strerror}). Choose another folder with --runs."
            raise StoreError(why) from error
        worker = Worker(process, log)
        self.workers.append(worker)
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._next(worker, watcher)

    def _next(self, worker: Worker, watcher: Watcher) -> None:
        """Give a worker its next trial, or nothing more to do."""
        worker.job, worker.step, worker.of, worker.began = None, 0, 0, time.monotonic()
        assert worker.process.stdin is not None
        if not self._waiting:
            worker.process.stdin.close()
            return
        worker.job = self._waiting.pop(0)
        task = worker.job.spec.to_dict()
        watcher.started(worker.job)
        with contextlib.suppress(BrokenPipeError):  # it ended: its output says so as well
            worker.process.stdin.write(json.dumps(task).encode() + b"\n")
            worker.process.stdin.flush()

    def _read(self, worker: Worker, watcher: Watcher) -> None:
        assert worker.process.stdout is not None
        new = os.read(worker.process.stdout.fileno(), 65536)
        if not new:
            self._gone(worker, watcher)
            return
        *lines, worker.pending = (worker.pending + new).split(b"\n")
        for line in lines:
            self._heard(worker, json.loads(line), watcher)

    def _heard(self, worker: Worker, facts: dict[str, Any], watcher: Watcher) -> None:
        job = worker.job
        if "step" in facts:
            worker.step, worker.of = facts["step"], facts["of"]
        elif job is not None and ("done" in facts or "failed" in facts):
            status = facts.get("done") or "failed"
            if status == "failed":
                self.failures[job.name] = facts["failed"]
            self._over(worker, job, status, facts.get("said") or facts.get("failed") or "", watcher)
            self._next(worker, watcher)

    def _over(self, worker: Worker, job: Job, status: str, said: str, watcher: Watcher) -> None:
        seconds = time.monotonic() - worker.began
        self.ended += 1
        self.clock.over(job.key, None if status == "failed" else seconds)
        watcher.ended(job, status, said, seconds)

    def _gone(self, worker: Worker, watcher: Watcher) -> None:
        """A worker ended. In the middle of a trial: that one has failed, and another worker takes its place."""
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        code, job = worker.process.wait(), worker.job
        worker.job = None
        if job is None:
            return
        why = f"the process that ran it ended with code {code}; its last words are in {worker.log}"
        self.failures[job.name] = why
        self._over(worker, job, "failed", why, watcher)
        if self._waiting:
            self._hire(watcher)

    def _note_time(self) -> None:
        now = time.monotonic()
        self.clock.running = {w.job.key: (now - w.began, w.share) for w in self.workers if w.job is not None}

    # ---- the end

    def _stop(self, watcher: Watcher) -> None:
        """Ask the workers to end, and wait; asked a second time, do not wait."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        try:
            for worker in self.workers:
                worker.process.wait()
        except KeyboardInterrupt:
            watcher.say("not waiting: what was not saved is lost")

    def _dismiss(self) -> None:
        for worker in self.workers:
            for stream in (worker.process.stdin, worker.process.stdout):
                if stream is not None and not stream.closed:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            try:
                worker.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._selector.close()


def _as_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
