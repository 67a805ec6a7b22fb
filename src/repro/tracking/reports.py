"""A report's tables and figures in a tracker, as one run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.errors import ConfigError, ReproError
from repro.store.record import Record
from repro.tracking.artifacts import of_report
from repro.tracking.build import TRACKERS, backend
from repro.tracking.queued import QueuedTracker

SECONDS = 300.0
"""How long the command waits for the tracker: here nothing else waits with it."""


def track_report(tracker: Mapping[str, Any], out: Path, paths: Sequence[Path], runs: Path) -> Path:
    """Hand the files of a report to a tracker; the folder where it wrote.

    The run's id is a digest of the files: an equal report is the same run.

    Args:
        tracker: the fields of `TrackerConfig`.
        out: the report's folder.
        paths: its files.
        runs: the run folders, beside which the tracker writes.

    Raises:
        ConfigError: an unknown tracker.
        ReproError: the tracker failed; the report is written nevertheless.
    """
    names = sorted(path.relative_to(out).as_posix() for path in paths)
    digest = hashlib.sha256(b"".join(name.encode() + (out / name).read_bytes() for name in names)).hexdigest()
    key = f"report-{digest[:16]}"
    made = backend(tracker, key, {"report": key}, runs / key)
    if made is None:
        raise ConfigError(f"--track={tracker['name']}: allowed are {', '.join(TRACKERS[1:])}.")
    queued = QueuedTracker(made, "the report", lambda record: of_report(out, names), SECONDS)
    queued.finish(Record(key, "done", {}, 0))
    if queued.trouble is not None:
        raise ReproError(f"the report is written, but {tracker['name']} did not take it: {queued.trouble}.")
    return runs / key
