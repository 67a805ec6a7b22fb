"""The rows that a trial's tracker was given, in a file, so that a continued trial's offline run is whole.

Offline, wandb begins a new folder in every process and cannot resume one. So a process that continues a trial first
repeats the rows up to the step from which it goes on: its folder then holds the whole curve.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from repro.tracking.backend import Values

FILE = "tracked.jsonl"
_FLUSH_EVERY = 50
"""Rows. Those that a killed process had not flushed are missing from the tracker's curve, and nowhere else."""

Row = tuple[Values, int]


class Journal:
    """`tracked.jsonl` of a run folder.

    Args:
        folder: the trial's run folder.
    """

    def __init__(self, folder: Path):
        self._path = folder / FILE
        self._stream: TextIO | None = None
        self._unflushed = 0

    def earlier(self, step: int | None) -> list[Row]:
        """The rows of earlier processes up to and with a step (None: all); later ones are dropped."""
        rows = [row for row in self._read() if step is None or row[1] <= step]
        if not rows:
            self._path.unlink(missing_ok=True)
            return []
        self._path.write_text("".join(_line(*row) for row in rows), encoding="utf-8")
        return rows

    def add(self, values: Values, step: int) -> None:
        """Append a row."""
        if self._stream is None:
            self._stream = self._path.open("a", encoding="utf-8")
        self._stream.write(_line(values, step))
        self._unflushed += 1
        if self._unflushed >= _FLUSH_EVERY:
            self._stream.flush()
            self._unflushed = 0

    def close(self, remove: bool) -> None:
        """Close the file; `remove` it when the trial has ended."""
        if self._stream is not None:
            self._stream.close()
        if remove:
            self._path.unlink(missing_ok=True)

    def _read(self) -> list[Row]:
        if not self._path.is_file():
            return []
        rows = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                values, step = json.loads(line)
            except ValueError:  # the last line of a killed process
                break
            rows.append((values, step))
        return rows


def _line(values: Values, step: int) -> str:
    return json.dumps([values, step], default=str) + "\n"
