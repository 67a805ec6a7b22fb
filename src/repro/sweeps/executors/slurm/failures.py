"""Why a trial of a job ended without a record: a note in its run folder, and whether trying again makes sense."""

from __future__ import annotations

import contextlib
import errno
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from repro.errors import Interrupted, StoreError
from repro.store.files import write_json_atomic

FILE = "failure.json"
_OF_THE_MACHINE = ("AcceleratorError",)
"""Classes of torch that say that the device is broken; running out of its memory is another class."""
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS, errno.ENOMEM, errno.ENOTCONN)


@dataclass(frozen=True)
class Failure:
    """What a trial raised."""

    kind: str
    reason: str
    repeats: bool
    """The same would happen again: a bad config, a missing file, an error in the program."""
    job: str | None
    """In which job."""


def failure(error: BaseException, job: str | None) -> Failure:
    """The note of an error."""
    return Failure(type(error).__name__, " ".join(str(error).split()), not passing(error), job)


def passing(error: BaseException) -> bool:
    """Whether an error has to do with the machine and the moment: a full disk, a lost server, a broken device."""
    if isinstance(error, Interrupted):
        return True
    if isinstance(error, StoreError):  # a damaged file and a missing permission stay as they are
        return isinstance(error.__cause__, OSError) and passing(error.__cause__)
    if isinstance(error, OSError):
        return error.errno in _PASSING
    return type(error).__name__ in _OF_THE_MACHINE


def note(folder: Path, found: Failure) -> None:
    """Leave it in a run folder. That the disk is full is no reason to fail once more: a trial without a note passes for
    interrupted, and is tried again."""
    with contextlib.suppress(StoreError):
        write_json_atomic(folder / FILE, asdict(found))


def read(folder: Path) -> Failure | None:
    """The note in a run folder, None if there is none that can be read."""
    try:
        return Failure(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def forget(folder: Path) -> None:
    """The trial is tried again, or has its record."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)
