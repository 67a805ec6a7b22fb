"""A tracker in a thread of its own: the training loop only puts values into a queue.

A tracker must not fail or delay a trial. Any error in the thread (no library, a full disk, a server that does not
answer) ends the tracking with one warning, and has no other effect.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from repro.errors import redacted_text
from repro.store.record import Record
from repro.tracking.backend import Backend, Exhibits, Values, flattened

log = logging.getLogger(__name__)

QUEUE_SIZE = 10_000
"""Rows that may wait for a slow tracker; beyond that it is given up, so that memory stays bounded."""
FINISH_SECONDS = 60.0
"""How long the end of a trial may wait for its tracker."""
IMPATIENT_SECONDS = 1.0
"""The same, once a tracker of this process timed out: a sweep must not pay for every trial."""
_timed_out = threading.Event()
"""Set when a tracker of this process did not end in time."""


class Tracker(Protocol):
    """What the training loop and the runner may call. Neither method raises or blocks for long."""

    def log(self, values: Values, step: int) -> None:
        """Values at one step, nested dicts allowed: `{"train_loss": 0.3, "validation": {"accuracy": 71.0}}`."""

    def finish(self, record: Record | None = None) -> None:
        """The end of the trial; `record` is None if it was interrupted. Later calls do nothing."""


class NullTracker:
    """Tracks nothing."""

    def log(self, values: Values, step: int) -> None:
        """Does nothing."""

    def finish(self, record: Record | None = None) -> None:
        """Does nothing."""


class QueuedTracker:
    """Passes what it is given to a backend, from a thread.

    Args:
        backend: where it goes.
        subject: what it tracks, for the warning.
        finish_seconds: how long `finish` may wait for what is left.
    """

    def __init__(self, backend: Backend, subject: str, finish_seconds: float = FINISH_SECONDS) -> None:
        self._backend, self._subject, self._finish_seconds = backend, subject, finish_seconds
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(maxsize=QUEUE_SIZE)
        self._disabled = threading.Event()
        self._giving_up = threading.Lock()
        self.trouble: str | None = None
        """Why it was given up."""
        self._thread = threading.Thread(target=self._work, name=f"{backend.name}-tracker", daemon=True)
        self._thread.start()

    def log(self, values: Values, step: int) -> None:
        """Queues the values; see `Tracker.log`."""
        if not self._disabled.is_set():
            flat = flattened(values)  # now: the caller may change its dict afterwards
            self._put(lambda: self._backend.row(flat, step))

    def show(self, exhibits: Exhibits) -> None:
        """Queues tables and figures."""
        self._put(lambda: self._backend.show(exhibits))

    def finish(self, record: Record | None = None) -> None:
        """Hands over the record and waits for the backend, but not for long; see `Tracker.finish`."""
        if self._disabled.is_set() or not (self._put(lambda: self._backend.close(record)) and self._put(None)):
            return
        seconds = min(self._finish_seconds, IMPATIENT_SECONDS) if _timed_out.is_set() else self._finish_seconds
        self._thread.join(seconds)
        if self._thread.is_alive():
            _timed_out.set()
            self._give_up(f"it did not end within {seconds:g} s")
        self._disabled.set()

    def _put(self, call: Callable[[], None] | None) -> bool:
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._give_up(f"{QUEUE_SIZE} rows wait for it")
            return False
        return True

    def _work(self) -> None:
        """The thread: everything that touches the backend."""
        try:
            self._backend.open()
            while not self._disabled.is_set() and (call := self._queue.get()) is not None:
                call()
        except BaseException as error:  # wandb may even call sys.exit
            self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, why: str) -> None:
        """Ends the tracking with one warning."""
        # The training loop and the tracker's thread may fail at the same time.
        with self._giving_up:
            if self._disabled.is_set():
                return
            self.trouble = redacted_text(why)
            log.warning(
                "%s is off for the rest of %s: %s. Nothing else is affected; `tracker=none` avoids this warning.",
                self._backend.name,
                self._subject,
                self.trouble,
            )
            self._disabled.set()
