"""`repro store verify`: every damage of a store and of the runs beside it, with what is wrong and what mends it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repro.config.run_key import run_key
from repro.errors import REDACTED, ReproError, StoreError, explained
from repro.store import progress
from repro.store.checkpoints import newest
from repro.store.damage import RESTORE, Damaged
from repro.store.files import ABANDONED_SECONDS, writer_lives
from repro.store.lock import fault_of
from repro.store.record import Record
from repro.store.run_folder import MissingFile, trusted_file
from repro.store.searches import journal
from repro.store.store import RECORD_NAME, read_record

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
    """Read every record and search of `results` and every folder of `runs`; change nothing.

    Raises:
        StoreError: a folder that cannot be read at all.
    """
    root = results / "records"
    problems = [*_links(root), *_links(runs)]
    good: dict[str, Record] = {}
    keys = _folders(root)
    for key in keys:
        record = _record(root / key, problems)
        if record is not None:
            good[key] = record
        problems += [*_left(root / key), *_conflicts(root / key)]
    problems += _left(root)
    damaged: list[Damaged] = []
    journal.all_of(results, damaged.append)
    problems += [Problem(error.path, error.what, error.fix) for error in damaged]
    folders = [name for name in _folders(runs) if name != "cache"]
    for name in folders:
        problems += _run(runs / name, good.get(name))
    return Verified(len(keys), len(folders), tuple(problems))


def _folders(root: Path) -> list[str]:
    with explained(root, "read"):
        return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.exists() else []


def _links(root: Path) -> Iterator[Problem]:
    """Links below a folder that lead out of it. The folder itself may be one: runs often lie on another disk."""
    for folder, names, files in os.walk(root):
        for path in (Path(folder, name) for name in [*names, *files]):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
                what = f"is a link that leaves the store, to {os.readlink(path)}"
                yield Problem(path, what, f"put a copy of the file in its place, or remove it: rm '{path}'")


def _record(folder: Path, problems: list[Problem]) -> Record | None:
    """The record in a folder, if it can be trusted; else what is wrong with it goes to `problems`."""
    path = folder / RECORD_NAME
    try:
        record = read_record(path)
    except Damaged as error:
        problems.append(Problem(path, error.what, error.fix))
        return None
    if record is None:
        remove = f"rm -r {folder}" if any(folder.iterdir()) else f"rmdir {folder}"
        fix = f"run its trial again, or remove the folder: {remove}"
        problems.append(Problem(path, "is missing: its writer was killed, or somebody deleted it", fix))
    elif why := _other_config(record):
        problems.append(Problem(path, why, RESTORE))
        return None
    return record


def _other_config(record: Record) -> str | None:
    """Why the config of a record is not the one that its key stands for."""
    try:
        key = run_key(record.config)
    except (KeyError, TypeError, AttributeError, ReproError) as error:
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
        try:
            with explained(path, "read"):
                why = fault_of(path)
        except StoreError as error:
            yield Problem(path, str(error), f"if nothing runs there: rm -r '{path}'")
            continue
        if why is None:
            locked = True
        else:
            fix = f"run the trial again, which takes it over; or, if nothing runs there: rm '{path}'"
            yield Problem(path, f"is a stale lock: {why}", fix)
    if locked:
        return
    if record is not None:
        yield from _files(folder, record)
    yield from _progress(folder)
    yield from _checkpoint(folder / "checkpoint", record)


def _files(folder: Path, record: Record) -> Iterator[Problem]:
    for name in record.files:
        try:
            trusted_file(record, folder, name)
        except MissingFile as error:
            yield Problem(error.path, "is missing, and the record names it", error.fix)
        except Damaged as error:
            yield Problem(error.path, error.what, error.fix)


def _progress(folder: Path) -> Iterator[Problem]:
    path = folder / progress.FILE
    if os.path.lexists(path) and progress.read(folder) is None:
        yield Problem(path, "is damaged: it does not say how far a trial is; no trial needs it", f"rm -r '{path}'")


def _checkpoint(folder: Path, record: Record | None) -> Iterator[Problem]:
    if not folder.is_dir():
        return
    yield from _left(folder)
    if record is not None and record.status != "failed":
        fix = f"run the trial's command again, which removes it; or: rm -r {folder}"
        yield Problem(folder, "is the checkpoint of a trial that is done: its process was killed while tidying up", fix)
        return
    try:
        state, wrong = newest(folder)
    except OSError as error:
        state, wrong = None, [str(error)]
    for text in wrong:
        if state is None:
            what, fix = "there is no whole one before it", f"start the trial anew: rm -r {folder}"
        else:
            what, fix = f"{state.file} is whole", "run the trial's command again, which goes on from there"
        yield Problem(folder, f"holds a damaged checkpoint ({text}); {what}", fix)
