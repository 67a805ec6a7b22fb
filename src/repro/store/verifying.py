"""`repro store verify`: every damage of a store and of the runs beside it, with what is wrong and what mends it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repro.config.run_key import run_key
from repro.errors import REDACTED, StoreError, explained
from repro.store.checkpoints import newest
from repro.store.files import ABANDONED_SECONDS, read_json, sha256_file, writer_lives
from repro.store.lock import fault_of
from repro.store.record import CHECKSUM, Json, NewerSchema, Record, with_checksum
from repro.store.store import RECORD_NAME, record_of

_RESTORE = "restore it (git checkout -- FILE, if it is kept in git), or delete it and run the trial again"
CONFLICTS = "conflict-*.json"
"""What `repro store merge` lays beside a record that another machine has with another result."""


@dataclass(frozen=True)
class Problem:
    """One damage: where, what, and the fix."""

    path: Path
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}\n    to fix it: {self.fix}"


@dataclass(frozen=True)
class Verified:
    """What was looked at, and what was found."""

    records: int
    runs: int
    problems: tuple[Problem, ...]


def verify(results: Path, runs: Path) -> Verified:
    """Read every record of `results/records` and every folder of `runs`; change nothing.

    Raises:
        StoreError: a folder that cannot be read at all.
    """
    root = results / "records"
    problems: list[Problem] = []
    good: dict[str, Record] = {}
    keys = _folders(root)
    for key in keys:
        found = _record(root / key, problems)
        if found is not None:
            good[key] = found
        problems += [*_left(root / key), *_conflicts(root / key)]
    problems += _left(root)
    folders = [name for name in _folders(runs) if name != "cache"]
    for name in folders:
        problems += _run(runs / name, good.get(name))
    return Verified(len(keys), len(folders), tuple(problems))


def _folders(root: Path) -> list[str]:
    with explained(root, "read"):
        return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.exists() else []


def _record(folder: Path, problems: list[Problem]) -> Record | None:
    """The record in a folder, if it is whole; else what is wrong with it goes to `problems`."""
    path = folder / RECORD_NAME
    try:
        data = read_json(path)
    except FileNotFoundError:
        remove = f"rm -r {folder}" if any(folder.iterdir()) else f"rmdir {folder}"
        fix = f"run its trial again, or remove the folder: {remove}"
        problems.append(Problem(path, "is missing: its writer was killed, or somebody deleted it", fix))
        return None
    except StoreError as error:
        what = "is torn: it is not JSON" if isinstance(error.__cause__, ValueError) else str(error)
        problems.append(Problem(path, f"{what} ({error.__cause__})", _RESTORE))
        return None
    try:
        record = record_of(data, folder.name)
    except NewerSchema as error:
        problems.append(Problem(path, str(error), "update repro (pip install --upgrade)"))
        return None
    except StoreError as error:
        problems.append(Problem(path, str(error), _RESTORE))
        return None
    if why := _altered(data, record):
        problems.append(Problem(path, why, _RESTORE))
        return None
    return record


def _altered(data: Json, record: Record) -> str | None:
    """Why a record that reads well is not the one that was written.

    Args:
        data: the content of its file.
        record: the same, read.
    """
    checksum = data.get(CHECKSUM)
    if checksum is None and data["schema_version"] != 1:
        return "has no checksum, which every record of its version has: it was edited or written by something else"
    if checksum is not None and with_checksum(data)[CHECKSUM] != checksum:
        return "its checksum does not match: the disk or somebody changed it after it was written"
    try:
        key = run_key(record.config)
    except (KeyError, TypeError, AttributeError) as error:
        return f"its config is damaged ({type(error).__name__}: {error})"
    # A redacted secret may have been part of what gave the key.
    if key != record.key and REDACTED not in json.dumps(record.config):
        return f"its config belongs to the key {key}: it was edited, or its writer made keys in another way"
    return None


def _left(folder: Path) -> Iterator[Problem]:
    """Temporary files whose writer is gone."""
    for path in sorted(folder.glob(".*.tmp")) if folder.is_dir() else ():
        lives = writer_lives(path.name)
        try:
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:  # its writer has just finished
            continue
        if lives or (lives is None and 0 <= age <= ABANDONED_SECONDS):
            continue
        what = "is a temporary file of a writer that was killed"
        if lives is None and age < 0:
            what = f"is a temporary file whose time lies {-age:,.0f} s in the future: a clock jumped"
        yield Problem(path, what, f"if nothing writes there now: rm '{path}'")


def _conflicts(folder: Path) -> Iterator[Problem]:
    for path in sorted(folder.glob(CONFLICTS)):
        yield Problem(
            path,
            f"is another machine's result of the same trial, which differs from {RECORD_NAME}",
            f"compare the two and keep one: rm {path.name}, or mv {path.name} {RECORD_NAME}",
        )


def _run(folder: Path, record: Record | None) -> Iterator[Problem]:
    """The folder of one trial: its files' hashes, its checkpoint, its lock, what killed writers left."""
    yield from _left(folder)
    locked = False
    for path in sorted(folder.glob("lock*")):
        with explained(path, "read"):
            why = fault_of(path)
        if why is None:
            locked = True
        else:
            fix = f"run the trial again, which takes it over; or, if nothing runs there: rm '{path}'"
            yield Problem(path, f"is a stale lock: {why}", fix)
    for name, expected in (record.files if record and not locked else {}).items():
        path = folder / name
        again = f"bring {name} from where it was made, or delete the record and run the trial again"
        if not path.is_file():
            yield Problem(path, "is missing, and the record names it", again)
        elif sha256_file(path) != expected:
            yield Problem(path, "its checksum is not the one in the record", again)
    if not locked:
        yield from _checkpoint(folder / "checkpoint", record)


def _checkpoint(folder: Path, record: Record | None) -> Iterator[Problem]:
    if not folder.is_dir():
        return
    yield from _left(folder)
    if record is not None and record.status != "failed":
        fix = f"run the trial's command again, which removes it; or: rm -r {folder}"
        yield Problem(folder, "is the checkpoint of a trial that is done: its process was killed while tidying up", fix)
        return
    state, wrong = newest(folder)
    for text in wrong:
        if state is None:
            what, fix = "there is no whole one before it", f"start the trial anew: rm -r {folder}"
        else:
            what, fix = f"{state.file} is whole", "run the trial's command again, which goes on from there"
        yield Problem(folder, f"holds a damaged checkpoint ({text}); {what}", fix)
