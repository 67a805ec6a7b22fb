"""The tracker that a config asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.errors import ConfigError, redacted_values
from repro.tracking.artifacts import of_trial
from repro.tracking.queued import Backend, NullTracker, QueuedTracker, Tracker

TRACKERS = ("none", "wandb", "tensorboard")
WANDB_MODES = ("offline", "online", "disabled")


def make_tracker(tracker: Mapping[str, Any], key: str, config: Mapping[str, Any], folder: str | Path) -> Tracker:
    """The tracker of a trial. Returns at once: libraries are imported and started in the tracker's thread.

    Args:
        tracker: the fields of `TrackerConfig`.
        key: the run key.
        config: the resolved config of the trial.
        folder: the run folder, where the tracker may keep files.

    Raises:
        ConfigError: an unknown `tracker.name` or `tracker.mode`.
    """
    made = backend(tracker, key, config, folder)
    if made is None:
        return NullTracker()
    return QueuedTracker(made, f"trial {key}", lambda record: of_trial(record, Path(folder)))


def backend(tracker: Mapping[str, Any], key: str, config: Mapping[str, Any], folder: str | Path) -> Backend | None:
    """Where a config wants its values to go, None for nowhere; arguments and errors as of `make_tracker`."""
    name, mode = tracker.get("name", "none"), tracker.get("mode", "offline")
    if name not in TRACKERS:
        raise ConfigError(
            f"tracker.name is {name!r}, allowed are {', '.join(TRACKERS)}: say `tracker=none`, for example."
        )
    if name == "none":
        return None
    tracker, config = redacted_values(tracker), redacted_values(config)
    project, group, tags = tracker.get("project", "repro"), tracker.get("group"), list(tracker.get("tags") or ())
    if name == "tensorboard":
        from repro.tracking.tensorboard import TensorboardEvents

        return TensorboardEvents({"project": project, "group": group, "tags": tags}, config, key, folder)
    if mode not in WANDB_MODES:
        allowed = ", ".join(WANDB_MODES)
        raise ConfigError(f"tracker.mode is {mode!r}, allowed are {allowed}: say `tracker.mode=offline`, for example.")
    from repro.tracking.wandb_run import WandbRun

    return WandbRun(project, group, tags, mode, key, config, folder)
