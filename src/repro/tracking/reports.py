"""A report's tables and figures in a tracker, as one run."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

from repro.config.schema import TrackerConfig
from repro.errors import ConfigError, ReproError
from repro.store.record import Record
from repro.tracking.backend import Exhibits, Table
from repro.tracking.build import TRACKERS, backend
from repro.tracking.queued import QueuedTracker

SECONDS = 300.0
"""How long the command waits for the tracker: here nothing else waits with it."""


def track_report(tracker: TrackerConfig, out: Path, paths: Sequence[Path], runs: Path) -> Path:
    """Pass the tables and figures of a report to a tracker; returns the folder where it wrote.

    The run's id is a digest of the files: an equal report is the same run.

    Args:
        tracker: which one.
        out: the report's folder.
        paths: its files.
        runs: the run folders, beside which the tracker writes.

    Raises:
        ConfigError: an unknown tracker.
        ReproError: the tracker failed; the report is written nevertheless.
    """
    named = sorted((path.relative_to(out).as_posix(), path) for path in paths)
    digest = hashlib.sha256(b"".join(name.encode() + path.read_bytes() for name, path in named)).hexdigest()
    key = f"report-{digest[:16]}"
    made = backend(tracker, key, {"report": key}, runs / key)
    if made is None:
        raise ConfigError(f"--track={tracker.name}: allowed are {', '.join(TRACKERS[1:])}.")
    queued = QueuedTracker(made, "the report", SECONDS)
    queued.show(_exhibits([path for _, path in named]))
    queued.finish(Record(key, "done", {}, 0))
    if queued.trouble is not None:
        raise ReproError(f"the report is written, but {tracker.name} did not take it: {queued.trouble}.")
    return runs / key


def _exhibits(paths: Sequence[Path]) -> Exhibits:
    """The tables that have rows, as their CSV files have them, and the figures."""
    tables = {}
    for path in (path for path in paths if path.suffix == ".csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            head, *lines = list(csv.reader(stream)) or [[]]
        if lines:
            tables[path.stem] = Table(head, lines)
    return Exhibits(tables, {path.stem: path for path in paths if path.suffix == ".png"})
