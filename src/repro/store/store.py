"""The store: one folder per run key with one `record.json`, readable by people, git and a laptop without torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from repro.errors import StoreError, explained, redacted_values
from repro.store.damage import Damaged, OnDamage, parsed_file, read_bytes
from repro.store.files import write_json_atomic
from repro.store.record import CHECKSUM, NewerSchema, Record, with_checksum

RECORD_NAME = "record.json"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_CHECKSUM_LINE = re.compile(rb'\n "checksum": "([0-9a-f]{64})",')
_NUMBERS = ("statistics", "clusters", "subsets")
"""Fields that hold numbers alone, many of them."""


class Store:
    """The records under one folder. Reading creates nothing; a folder that is missing reads as an empty store.

    Whatever is read has the checksum that was written with it, and values of the expected types.
    """

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
            Damaged: the record cannot be trusted or read; names the file and the fix.
        """
        return read_record(self.path(key), statistics)

    def put(self, record: Record) -> Path:
        """Writes a record in place of the old one of its key, in one step, secrets redacted. Returns the path.

        Raises:
            StoreError: the record cannot be written; the old one is as it was.
        """
        path = self.path(record.key)
        write_json_atomic(path, with_checksum(redacted_values(record.to_json(), skip=_NUMBERS)))
        return path

    def records(self, on_damage: OnDamage | None = None, statistics: bool = True, prefix: str = "") -> Iterator[Record]:
        """All records, sorted by key. Folders without a `record.json` are no records.

        Args:
            on_damage: called with each damaged record (`damaged.append` of a list), which is then left out; show
                `damage_text(damaged)` and end with exit code 1. Without it the first damaged record raises.
            statistics: False leaves the per-example statistics unread (empty): they are most of a record, and a report
                needs none of them.
            prefix: only keys that begin so; others are not opened.

        Raises:
            Damaged: a damaged record.
            StoreError: a store that cannot be read.
        """
        for path in self._paths():
            if not path.parent.name.startswith(prefix):
                continue
            try:
                record = read_record(path, statistics)
            except Damaged as error:
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


def read_record(path: Path, statistics: bool = True) -> Record | None:
    """The record in a file, None if there is no file.

    Raises:
        Damaged: it is no record, of a newer schema, of another key than its folder's, or not as it was written.
    """
    try:
        text = read_bytes(path)
    except FileNotFoundError:
        return None
    as_written = _is_as_written(text)
    data = parsed_file(path, _without_statistics(text) if as_written and not statistics else text)
    if not isinstance(data, dict):
        raise Damaged(path, f"is damaged: it holds a {type(data).__name__}, not a record")
    try:
        record = Record.from_json(data)
    except NewerSchema as error:
        raise Damaged(path, str(error), "update repro (pip install --upgrade)") from error
    except StoreError as error:
        raise Damaged(path, str(error)) from error
    if not as_written and (why := _altered(data)):
        raise Damaged(path, why)
    if record.key != path.parent.name:
        raise Damaged(path, f"holds the record of {record.key}: it was moved or edited")
    if not statistics:
        record.statistics = {}
    return record


def _is_as_written(text: bytes) -> bool:
    """Whether a file has the checksum and the layout that `put` gave it: the hash of its text without that line.

    `json_text` puts each field of a record on a line of its own behind one space, in the order of the names. No text in
    JSON holds a raw line end, so such a line can be nothing else.
    """
    line = _CHECKSUM_LINE.search(text)
    if line is None:
        return False
    digest = hashlib.sha256(memoryview(text)[: line.start()])
    digest.update(memoryview(text)[line.end() :])
    return digest.hexdigest().encode() == line[1]


def _altered(data: dict[str, object]) -> str | None:
    """Why a record in another layout (git may change line ends) is not the one that was written; None: it is."""
    checksum = data.get(CHECKSUM)
    if checksum is None and data.get("schema_version") == 1:
        return None
    if checksum is None:
        return "is damaged: it has no checksum, which every record of its version has: something else wrote it"
    if with_checksum(data)[CHECKSUM] != checksum:
        return "is damaged: its checksum does not match: the disk or somebody changed it after it was written"
    return None


def _without_statistics(text: bytes) -> bytes:
    """The text of a record, in the layout of `put`, without its per-example statistics."""
    start = text.find(b'\n "statistics": ')
    end = text.find(b'\n "status": ', start)
    return text[:start] + text[end:] if -1 < start < end else text
