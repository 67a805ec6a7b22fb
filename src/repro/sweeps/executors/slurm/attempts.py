"""A log beside each chunk: when it was begun, where, how each attempt ended, and how far it was then."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repro.errors import StoreError
from repro.store.files import append_line


class Attempts:
    """The log of one chunk. A log that cannot be written stops nothing."""

    def __init__(self, path: Path):
        self.path = path

    def begin(self, job: str | None, host: str, todo: int) -> None:
        """A job starts with the chunk, for the first time or again."""
        self._add({"event": "begin", "job": job, "host": host, "trials": todo})

    def end(self, job: str | None, how: str, reached: list[int] | None = None) -> None:
        """The attempt ends in an orderly way; one that was killed has no such line."""
        self._add({"event": how, "job": job, "reached": reached})

    def all(self) -> list[dict[str, Any]]:
        """Every line that can be read."""
        found = []
        with contextlib.suppress(OSError):
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found

    def reached(self) -> list[int]:
        """How far the chunk was when it was last put back; less than anything if it never was."""
        known = [line["reached"] for line in self.all() if line.get("event") == "requeued" and line.get("reached")]
        return known[-1] if known else [-1, -1]

    def _add(self, line: dict[str, Any]) -> None:
        with contextlib.suppress(StoreError):
            append_line(self.path, json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds")} | line))
