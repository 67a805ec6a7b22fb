"""The rows that a trial's tracker was given, in a file, so that a continued trial's offline run is whole.

Offline, wandb begins a new folder in every process and cannot resume one. So a process that continues a trial first
repeats the rows up to the step from which it goes on: its folder then holds the whole curve.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "tracked.jsonl"
_FLUSH_EVERY = 50
"""Rows. What a killed process had not flushed is missing in the continued run's curve, and nowhere else."""

Row = tuple[dict[str, Any], int]


class Journal:
    """`tracked.jsonl` of a run folder.

    Args:
        folder: the trial's run folder; it exists.
    """

    def __init__(self, folder: Path):
        self._path = folder / FILE
        self._stream: Any = None
        self._waiting = 0

    def earlier(self, step: int | None) -> list[Row]:
        """The rows of earlier processes up to a step, all of them for None; later ones are forgotten.

        The step itself belongs to them: the checkpoint may lie between two rows of it.
        """
        rows = [row for row in self._read() if step is None or row[1] <= step]
        if not rows:
            self._path.unlink(missing_ok=True)
            return []
        self._path.write_text("".join(_line(*row) for row in rows), encoding="utf-8")
        return rows

    def add(self, values: dict[str, Any], step: int) -> None:
        """One more row."""
        if self._stream is None:
            self._stream = self._path.open("a", encoding="utf-8")
        self._stream.write(_line(values, step))
        self._waiting += 1
        if self._waiting >= _FLUSH_EVERY:
            self._stream.flush()
            self._waiting = 0

    def close(self, remove: bool) -> None:
        """The end of the process; `remove` where the trial has ended too."""
        if self._stream is not None:
            self._stream.close()
        if remove:
            self._path.unlink(missing_ok=True)

    def _read(self) -> list[Row]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                values, step = json.loads(line)
            except ValueError:  # the last line of a killed process
                break
            found.append((values, step))
        return found


def _line(values: dict[str, Any], step: int) -> str:
    return json.dumps([values, step], default=str) + "\n"
