"""A tracker in a thread of its own: the training loop only puts values into a queue.

A tracker must not fail or delay a trial. Whatever goes wrong in the thread (no library, a full disk, a server that does
not answer) ends the tracking, with one warning, and nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from repro.errors import redacted_text
from repro.store.record import Record
from repro.tracking.artifacts import Shown

log = logging.getLogger(__name__)

QUEUE_SIZE = 10_000
"""Rows that may wait for a slow tracker; beyond that it is given up, so that memory stays bounded."""
FINISH_SECONDS = 60.0
"""How long the end of a trial may wait for its tracker."""
IMPATIENT_SECONDS = 1.0
"""The same, once a tracker of this process was waited for in vain: a sweep must not pay for every trial."""
_late = threading.Event()
"""Set when a tracker of this process did not end in time."""


class Tracker(Protocol):
    """What the training loop and the runner may call. Neither method raises or blocks for long."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Values at one step, nested dicts allowed: `{"train_loss": 0.3, "validation": {"accuracy": 71.0}}`."""

    def finish(self, record: Record | None = None) -> None:
        """The end of the trial; `record` is None if it was interrupted. Later calls do nothing."""


class NullTracker:
    """Tracks nothing."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Nothing."""

    def finish(self, record: Record | None = None) -> None:
        """Nothing."""


class Backend(Protocol):
    """Where a tracker's values go. Called by one thread, in the order of the methods; each may raise or block."""

    name: str

    def open(self) -> None:
        """Load the library and begin a run, or continue it."""

    def row(self, values: dict[str, Any], step: int) -> None:
        """Values of one step, names flat."""

    def close(self, record: Record | None, shown: Shown) -> None:
        """The record's figures and what is to be shown of it; then everything is on its way."""


class QueuedTracker:
    """Hands what it is given to a backend, from a thread.

    Args:
        backend: where it goes.
        subject: what it tracks, for the warning.
        show: what is shown of a finished trial; called in the thread.
        finish_seconds: how long `finish` may wait for what is left.
    """

    def __init__(
        self,
        backend: Backend,
        subject: str,
        show: Callable[[Record], Shown] = lambda record: Shown(),
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        self._backend, self._subject, self._show, self._finish_seconds = backend, subject, show, finish_seconds
        self._queue: queue.Queue[tuple[dict[str, Any], int] | _End] = queue.Queue(maxsize=QUEUE_SIZE)
        self._disabled = threading.Event()
        self._giving_up = threading.Lock()
        self.trouble: str | None = None
        """Why it was given up."""
        self._thread = threading.Thread(target=self._work, name=f"{backend.name}-tracker", daemon=True)
        self._thread.start()

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Queues the values; see `Tracker.log`."""
        if not self._disabled.is_set():
            self._put((flattened(values), step))

    def finish(self, record: Record | None = None) -> None:
        """Hands over the record, and waits for the backend, but not for long; see `Tracker.finish`."""
        if self._disabled.is_set() or not self._put(_End(record)):
            return
        seconds = min(self._finish_seconds, IMPATIENT_SECONDS) if _late.is_set() else self._finish_seconds
        self._thread.join(seconds)
        if self._thread.is_alive():
            _late.set()
            self._give_up(f"it did not end within {seconds:g} s")
        self._disabled.set()

    def _put(self, item: tuple[dict[str, Any], int] | _End) -> bool:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._give_up(f"{QUEUE_SIZE} rows wait for it")
            return False
        return True

    def _work(self) -> None:
        """The thread: everything that touches the backend."""
        try:
            self._backend.open()
            while not self._disabled.is_set():
                item = self._queue.get()
                if isinstance(item, _End):
                    shown = Shown() if item.record is None else self._show(item.record)
                    self._backend.close(item.record, shown)
                    return
                self._backend.row(*item)
        except BaseException as error:  # wandb may even call sys.exit
            self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, why: str) -> None:
        """Ends the tracking with one warning."""
        # The training loop and the tracker's thread may find trouble at the same time.
        with self._giving_up:
            if self._disabled.is_set():
                return
            self.trouble = redacted_text(why)
            log.warning(
                "%s is off for the rest of %s: %s. Nothing else is touched; `tracker=none` avoids this warning.",
                self._backend.name,
                self._subject,
                self.trouble,
            )
            self._disabled.set()


class _End:
    """The last thing in a tracker's queue."""

    def __init__(self, record: Record | None) -> None:
        self.record = record


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level of names: `{"validation": {"accuracy": 1.0}}` becomes `{"validation/accuracy": 1.0}`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def summary(record: Record | None) -> dict[str, Any]:
    """The figures of a record that a dashboard sorts by."""
    if record is None:
        return {"status": "interrupted"}
    return flattened(
        {
            "status": record.status,
            "reason": record.reason,
            "result": record.metrics,
            "selected": record.selection,
            "parameters": record.parameters,
            "cost": record.cost,
        }
    )
