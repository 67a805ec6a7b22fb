"""The folder of one trial below `runs`: what of it a record answers for, and what a killed process left in it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from repro.errors import StoreError
from repro.store.files import sha256_file
from repro.store.lock import Lock

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


def finish_tidying(lock: Lock, folder: Path) -> None:
    """Remove the checkpoint and the lock of a process that was killed after it had stored its record.

    Where another process is at it, or the folder may only be read, nothing happens. The caller gives the lock back.
    """
    if not lock.path.exists() and not (folder / CHECKPOINT).exists():
        return
    with contextlib.suppress(StoreError):
        if lock.acquire(wait=False):
            shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
