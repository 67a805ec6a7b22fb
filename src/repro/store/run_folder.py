"""The folder of one trial below `runs`: what of it a record answers for, and what a killed process left in it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from repro.errors import StoreError, explained
from repro.store import progress
from repro.store.damage import Damaged
from repro.store.files import sha256_file
from repro.store.lock import Lock
from repro.store.record import Record

CHECKPOINT = "checkpoint"
"""What a killed trial continues from; gone when it is done."""


def written_files(folder: Path) -> dict[str, str]:
    """{name: SHA-256} of a trial's predictions and prompt, for its record; temporary files of a killed try go.

    To be called by the holder of the trial's lock only.
    """
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)
    paths = [*sorted(folder.glob("predictions-*.jsonl")), folder / "prompt.safetensors"]
    return {path.name: sha256_file(path) for path in paths if path.is_file()}


def tidy_finished(folder: Path) -> None:
    """Remove what a trial that has its record needs no more. To be called by the holder of its lock only."""
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    with contextlib.suppress(OSError):
        progress.remove(folder)


def finish_tidying(lock: Lock, folder: Path) -> None:
    """Remove what a process left that was killed after it had stored its record: its lock too.

    Where another process is at it, or the folder may only be read, nothing happens. The caller gives the lock back.
    """
    if not any(path.exists() for path in (lock.path, folder / CHECKPOINT, folder / progress.FILE)):
        return
    with contextlib.suppress(StoreError):
        if lock.acquire(wait=False):
            tidy_finished(folder)


class MissingFile(Damaged):
    """A file of a run folder that is not on this machine: run folders are large and not kept in git."""


def trusted_file(record: Record, folder: Path, name: str) -> Path:
    """The path of a trial's prompt or predictions, whose content is what the record says it was.

    Args:
        folder: of the trial, below `runs`.

    Raises:
        MissingFile: only the machine that ran the trial has it.
        Damaged: it is another file than the trial wrote.
    """
    path = folder / name
    again = f"bring {name} from where it was made, or run the trial again with rerun=true"
    if name not in record.files:
        raise Damaged(path, "has no hash in the record of its trial, so it may be any file", again)
    try:
        with explained(path, "read"):
            digest = sha256_file(path) if path.exists() else None
    except StoreError as error:
        raise Damaged(path, str(error), again) from error
    if digest is None:
        raise MissingFile(path, "is not here: only the machine that ran the trial has it", again)
    if digest != record.files[name]:
        raise Damaged(path, "its checksum is not the one in the record: somebody changed it, or the disk", again)
    return path
