"""Why a trial of a job ended without a record: a note in its run folder, and whether trying again makes sense."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import asdict, dataclass
from pathlib import Path

from repro.errors import Interrupted, StoreError
from repro.store.damage import Damaged, read_as
from repro.store.files import write_json_atomic

FILE = "failure.json"
_DEVICE_ERRORS = ("AcceleratorError",)
"""Classes of torch (which is not imported here) for a broken device. Running out of its memory is another class."""
_TRANSIENT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS, errno.ENOMEM, errno.ENOTCONN)


@dataclass(frozen=True)
class Failure:
    """What a trial raised."""

    kind: str
    reason: str
    permanent: bool
    """The same would happen again: a bad config, a missing file, an error in the program."""
    job: str | None


def note(folder: Path, error: BaseException, job: str | None) -> None:
    """Leave a note in a run folder. Where that fails too (a full disk) the trial counts as interrupted."""
    failure = Failure(type(error).__name__, " ".join(str(error).split()), not transient(error), job)
    with contextlib.suppress(StoreError):
        write_json_atomic(folder / FILE, asdict(failure))


def transient(error: BaseException) -> bool:
    """Whether an error is one of the machine and the moment: a full disk, a lost server, a broken device."""
    if isinstance(error, StoreError):  # a damaged file and a missing permission stay as they are
        return isinstance(error.__cause__, OSError) and transient(error.__cause__)
    if isinstance(error, OSError):
        return error.errno in _TRANSIENT
    return isinstance(error, Interrupted) or type(error).__name__ in _DEVICE_ERRORS


def read(folder: Path) -> Failure | None:
    """The note in a run folder, None if there is none that can be read."""
    try:
        return read_as(Failure, folder / FILE)
    except (FileNotFoundError, Damaged):
        return None


def forget(folder: Path) -> None:
    """Remove the note: the trial is tried again, or has its record."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)
