"""Progress for those who watch: a tracker mirrors what the store will hold, and is never the record.

A tracker must not fail or delay a trial. So Weights & Biases runs in a thread of its own: the training loop only puts
values into a queue, and whatever goes wrong there ends the tracking, with one warning, and nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from repro.errors import ConfigError
from repro.masking import masked_text, masked_values
from repro.store.record import Record

log = logging.getLogger(__name__)

TRACKERS = ("none", "wandb")
WANDB_MODES = ("offline", "online", "disabled")
QUEUE_SIZE = 10_000
"""Rows that may wait for a slow tracker; beyond that it is given up, so that memory stays bounded."""


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


class WandbTracker:
    """Weights & Biases: one run a trial, with the run key as id, so that a continued trial continues its run.

    Offline, wandb writes a folder `wandb/offline-run-*` that `wandb sync` uploads later. No host name, git state,
    source code or console output is handed over.
    """

    def __init__(
        self,
        project: str,
        group: str | None,
        mode: str,
        key: str,
        config: Mapping[str, Any],
        folder: str | Path,
        finish_seconds: float = 60.0,
    ) -> None:
        """Returns at once: wandb is imported and started in the tracker's thread.

        Args:
            project: wandb's project.
            group: the runs to show together, such as an experiment's name.
            mode: one of WANDB_MODES.
            key: the run key: id and name of the run.
            config: the resolved config of the trial.
            folder: where wandb keeps its files; made if it is missing.
            finish_seconds: how long `finish` may wait for wandb to write what is left.
        """
        self._settings: dict[str, Any] = {"project": project, "group": group, "mode": mode, "id": key, "name": key}
        self._config = masked_values(config)
        self._folder = Path(folder)
        self._finish_seconds = finish_seconds
        self._queue: queue.Queue[tuple[dict[str, Any], int] | _End] = queue.Queue(maxsize=QUEUE_SIZE)
        self._disabled = threading.Event()
        self._giving_up = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="wandb-tracker", daemon=True)
        self._thread.start()

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Queues the values; see `Tracker.log`."""
        if self._disabled.is_set():
            return
        try:
            self._queue.put_nowait((flattened(values), step))
        except queue.Full:
            self._give_up(f"{QUEUE_SIZE} rows wait for it")

    def finish(self, record: Record | None = None) -> None:
        """Hands over the record's figures, and waits up to `finish_seconds` for wandb; see `Tracker.finish`."""
        if self._disabled.is_set():
            return
        try:
            self._queue.put_nowait(_End(record))
        except queue.Full:
            self._give_up(f"{QUEUE_SIZE} rows wait for it")
            return
        self._thread.join(self._finish_seconds)
        if self._thread.is_alive():
            self._give_up(f"it did not end within {self._finish_seconds:g} s")
        self._disabled.set()

    def _work(self) -> None:
        """The thread: everything that touches wandb."""
        try:
            run = self._start()
            while not self._disabled.is_set():
                item = self._queue.get()
                if isinstance(item, _End):
                    run.summary.update(_summary(item.record))
                    run.finish(exit_code=0 if item.record is not None and item.record.status != "failed" else 1)
                    return
                values, step = item
                run.log(values, step=step)
        except BaseException as error:  # wandb may even call sys.exit
            self._give_up(f"{type(error).__name__}: {error}")

    def _start(self) -> Any:
        """wandb's run."""
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            host="hidden",
        )
        # Trials of a gang run in one process, each with a run of its own.
        return wandb.init(
            **self._settings,
            config=self._config,
            dir=str(self._folder),
            resume="allow" if self._settings["mode"] == "online" else None,
            reinit="create_new",
            settings=settings,
        )

    def _give_up(self, why: str) -> None:
        """Ends the tracking with one warning."""
        # The training loop and the tracker's thread may find trouble at the same time.
        with self._giving_up:
            if self._disabled.is_set():
                return
            log.warning(
                "wandb is off for the rest of trial %s: %s. The trial goes on; `tracker=none` avoids this warning.",
                self._settings["id"],
                masked_text(why),
            )
            self._disabled.set()


class _End:
    """The last thing in a tracker's queue."""

    def __init__(self, record: Record | None) -> None:
        self.record = record


def make_tracker(tracker: Mapping[str, Any], key: str, config: Mapping[str, Any], folder: str | Path) -> Tracker:
    """The tracker that a config asks for.

    Args:
        tracker: the fields of `TrackerConfig`.
        key: the run key.
        config: the resolved config of the trial.
        folder: where the tracker may keep files.

    Raises:
        ConfigError: an unknown `tracker.name` or `tracker.mode`.
    """
    name, mode = tracker.get("name", "none"), tracker.get("mode", "offline")
    if name not in TRACKERS:
        raise ConfigError(
            f"tracker.name is {name!r}, allowed are {', '.join(TRACKERS)}: say `tracker=none`, for example."
        )
    if name == "none":
        return NullTracker()
    if mode not in WANDB_MODES:
        allowed = ", ".join(WANDB_MODES)
        raise ConfigError(f"tracker.mode is {mode!r}, allowed are {allowed}: say `tracker.mode=offline`, for example.")
    return WandbTracker(tracker.get("project", "repro"), tracker.get("group"), mode, key, config, folder)


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level of names: `{"validation": {"accuracy": 1.0}}` becomes `{"validation/accuracy": 1.0}`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _summary(record: Record | None) -> dict[str, Any]:
    """The figures of a record that a dashboard sorts by."""
    if record is None:
        return {"status": "interrupted"}
    return flattened(
        {
            "status": record.status,
            "reason": record.reason,
            "result": record.metrics,
            "parameters": record.parameters,
            "cost": record.cost,
        }
    )
