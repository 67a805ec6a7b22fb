"""The store: one folder per run key with one `record.json`, readable by people, git and a laptop without torch."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from repro.errors import StoreError, explained, redacted_values
from repro.store.files import read_json, write_json_atomic
from repro.store.record import NewerSchema, Record, with_checksum

RECORD_NAME = "record.json"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NUMBERS = ("statistics", "clusters", "subsets")
"""Fields that hold numbers alone, many of them."""


class Store:
    """The records under one folder. Reading creates nothing; a folder that is missing reads as an empty store."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, key: str) -> Path:
        """Where the record of a run key is, or would be.

        Raises:
            StoreError: the key is not a plain name, so it could lead out of the store.
        """
        if not _KEY.fullmatch(key):
            raise StoreError(f"{key!r} is not a run key: letters, digits, - and _ only. `repro status` lists the keys.")
        return self.root / key / RECORD_NAME

    def get(self, key: str, statistics: bool = True) -> Record | None:
        """The record of a run key, None if that trial has none.

        Args:
            statistics: as for `records`.

        Raises:
            StoreError: the record is damaged, of a newer schema, or cannot be read; names the file and the fix.
        """
        return _read(self.path(key), statistics)

    def put(self, record: Record) -> Path:
        """Writes a record in place of the old one of its key, in one step, secrets redacted. Returns the path.

        Raises:
            StoreError: the record cannot be written; the old one is as it was.
        """
        path = self.path(record.key)
        write_json_atomic(path, with_checksum(redacted_values(record.to_json(), skip=_NUMBERS)))
        return path

    def records(
        self, on_damage: Callable[[StoreError], object] | None = None, statistics: bool = True
    ) -> Iterator[Record]:
        """All records, sorted by key. Folders without a `record.json` are no records.

        Args:
            on_damage: called with the error of each record that cannot be read (`errors.append`, say), which is then
                left out; without it the first damaged record raises.
            statistics: False leaves the per-example statistics unread (empty): they are most of a record, and a report
                needs none of them.

        Raises:
            StoreError: a damaged record, or a store that cannot be read.
        """
        for path in self._paths():
            try:
                record = _read(path, statistics)
            except StoreError as error:
                if on_damage is None:
                    raise
                on_damage(error)
                continue
            if record is not None:
                yield record

    def has_records(self) -> bool:
        """Whether there is any record; reads none.

        Raises:
            StoreError: a store that cannot be read.
        """
        return any(path.is_file() for path in self._paths())

    def delete(self, key: str) -> bool:
        """Removes the record of a run key, and its folder if nothing else is in it. Returns whether there was one.

        Raises:
            StoreError: it cannot be removed.
        """
        path = self.path(key)
        with explained(path, "delete"):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        return True

    def _paths(self) -> list[Path]:
        """Where the records are, if their folders hold one, sorted by key."""
        with explained(self.root, "read"):
            try:
                with os.scandir(self.root) as entries:
                    folders = sorted(entry.name for entry in entries if entry.is_dir())
            except FileNotFoundError:
                return []
        return [self.root / folder / RECORD_NAME for folder in folders]


def _without_statistics(text: bytes) -> bytes:
    """The text of a record without its per-example statistics; all of it where another program laid the file out.

    `json_text` puts each field of a record on a line of its own behind one space, in the order of the names. No text in
    JSON holds a raw line end, so such a line can be nothing else.
    """
    start = text.find(b'\n "statistics": ')
    end = text.find(b'\n "status": ', start)
    return text[:start] + text[end:] if text.startswith(b'{\n "') and -1 < start < end else text


def _read(path: Path, statistics: bool = True) -> Record | None:
    """The record in a file, None if there is no file."""
    try:
        data = read_json(path, None if statistics else _without_statistics)
    except FileNotFoundError:
        return None
    try:
        return record_of(data, path.parent.name)
    except StoreError as error:
        fix = " Restore it (git checkout, if it is kept in git), or delete it and run the trial again."
        raise StoreError(f"{path}: {error}{'' if isinstance(error, NewerSchema) else fix}") from error


def record_of(data: object, key: str) -> Record:
    """The record that the data of a file holds.

    Args:
        key: the record's, as the folder of the file has it.

    Raises:
        StoreError: it is no record, damaged, of a newer schema, or of another key.
    """
    if not isinstance(data, dict):
        raise StoreError(f"it is damaged: it holds a {type(data).__name__}, not a record.")
    record = Record.from_json(data)
    if record.key != key:
        raise StoreError(f"it holds the record of {record.key}: it was moved or edited.")
    return record
