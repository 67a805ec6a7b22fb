"""The tracker that a config asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from repro.config.schema import TrackerConfig
from repro.errors import ConfigError, redacted_text, redacted_values
from repro.tracking.backend import Backend
from repro.tracking.queued import NullTracker, QueuedTracker, Tracker

TRACKERS = ("none", "wandb", "tensorboard")
Mode = Literal["offline", "online", "disabled"]
WANDB_MODES: tuple[Mode, ...] = get_args(Mode)


def make_tracker(tracker: TrackerConfig, key: str, config: Mapping[str, object], folder: str | Path) -> Tracker:
    """The tracker of a trial. Returns at once: libraries are imported and started in the tracker's thread.

    Args:
        tracker: which one, and how its run is labelled.
        key: the run key.
        config: the resolved config of the trial.
        folder: the run folder, where the tracker may keep files.

    Raises:
        ConfigError: an unknown `tracker.name` or `tracker.mode`.
    """
    made = backend(tracker, key, config, Path(folder))
    return NullTracker() if made is None else QueuedTracker(made, f"trial {key}")


def backend(tracker: TrackerConfig, key: str, config: Mapping[str, object], folder: Path) -> Backend | None:
    """Where a config wants its values to go, None for nowhere; arguments and errors as of `make_tracker`."""
    for name, value, allowed in (("name", tracker.name, TRACKERS), ("mode", tracker.mode, WANDB_MODES)):
        if value not in allowed:
            raise ConfigError(
                f"tracker.{name} is {value!r}, allowed are {', '.join(allowed)}: say `tracker.{name}={allowed[0]}`."
            )
    if tracker.name == "none":
        return None
    public: dict[str, object] = redacted_values(dict(config))
    project, tags = redacted_text(tracker.project), [redacted_text(tag) for tag in tracker.tags]
    group = None if tracker.group is None else redacted_text(tracker.group)
    if tracker.name == "tensorboard":
        from repro.tracking.tensorboard import TensorboardEvents

        about = {"run key": key, "project": project, "group": group, "tags": ", ".join(tags)}
        return TensorboardEvents(about, public, key, folder)
    from repro.tracking.wandb_run import WandbRun

    mode = next(mode for mode in WANDB_MODES if mode == tracker.mode)
    return WandbRun(project, group, tags, mode, key, public, folder)
