"""Files that are either the old version or the new one, never half of it: records, checkpoints, exports.

Everything that the project must not lose goes through `write_atomic`. An operating system's error comes out as a
`StoreError` that names the path, what happened, and the fix.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import numbers
import os
import re
import secrets
from pathlib import Path

from repro.errors import explained
from repro.store.processes import is_alive, short_table

ABANDONED_SECONDS = 3600.0
"""A temporary file that nobody wrote to for so long belongs to a writer that was killed."""

TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)-(?P<table>[0-9a-f]{8})-[0-9a-f]{12}\.tmp")
"""Names of temporary files: the target's name, the writer's process and machine, a random number."""

_TRIES = 5
"""Times that a write is repeated whose folder or temporary file somebody removed under it."""


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Replaces a file in one step: after a crash at any moment it holds all of the old content or all of the new.

    The data goes to a temporary file in the same folder (made if it is missing), is flushed to the disk, and is renamed
    over `path`. The new file has the permissions that the user's umask gives to any new file. Temporary files that a
    killed writer of the same path left behind are removed on the way: at once where it ran on this machine, else after
    an hour. Should that hour be a jump of the clock, the writer that lives still writes again.

    Args:
        path: the file to write.
        data: its content; text is written as UTF-8 with its line ends as they are, halves of characters escaped.

    Raises:
        StoreError: the file cannot be written; `path` is as it was and no temporary file is left.
    """
    target = Path(path)
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data
    with explained(target, "write"):
        for left in reversed(range(_TRIES)):
            try:
                return _replace(target, content)
            except FileNotFoundError:  # somebody removed the folder (an empty one), or our file as an abandoned one
                if not left:
                    raise


def _replace(target: Path, content: bytes) -> None:
    make_folder(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{short_table()}-{secrets.token_hex(6)}.tmp")
    write_new(temporary, content)
    try:
        _remove_abandoned(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _flush_folder(target.parent)


def write_json_atomic(path: str | os.PathLike[str], value: object) -> None:
    """Writes JSON that git can keep: one value a line, keys sorted, but every array of numbers on one line.

    See `json_text` for the form.

    Raises:
        StoreError: the file cannot be written.
        TypeError: a value that JSON cannot hold; names its place.
    """
    write_atomic(path, json_text(value))


def json_text(value: object) -> str:
    """The JSON text of plain values, equal for equal values, with a newline at its end.

    Keys are sorted; dicts and lists of text are indented by one space; a list of numbers (or of such lists) is one
    line. A float is written with the fewest digits that read back as the same float. JSON has no NaN or infinity: they
    become null, because a trial that failed with a NaN loss must still be able to say so in its record. Numbers of
    numpy are written as Python's; characters outside ASCII are escaped, so that any text that Python can hold,
    undecodable file names included, reads back the same.

    Raises:
        TypeError: a value that is no dict with text keys, list, tuple, text, number, bool or None.
    """
    return _lines(_plain(value, "value"), "") + "\n"


def read_whole(path: Path) -> bytes:
    """A file's content, also where a network file system says that it was replaced while we opened it.

    Raises:
        OSError: it cannot be read.
    """
    for left in reversed(range(_TRIES)):
        try:
            return path.read_bytes()
        except OSError as error:
            if error.errno != errno.ESTALE or not left:
                raise
    raise AssertionError("the last try returns or raises")


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, 64 hex digits, read in pieces so that large weights fit in memory.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Adds one line to a log in a single write, so that the lines of several processes do not mix on a local disk.

    Not flushed to the disk: a crash of the machine may lose the last lines.

    Args:
        path: the log; it and its folder are made if they are missing.
        line: text without line ends.

    Raises:
        StoreError: the file cannot be written.
        ValueError: the text holds a line end.
    """
    if "\n" in line or "\r" in line:
        raise ValueError(f"a log line must not hold a line end: {line!r}")
    target = Path(path)
    with explained(target, "write"):
        make_folder(target.parent)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _write_all(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)


def write_new(path: Path, content: bytes) -> None:
    """Creates a file that must not exist yet, and flushes it to the disk. On failure it is removed again.

    Raises:
        FileExistsError: somebody else created it; it is left alone.
        OSError: it cannot be written.
    """
    # Not tempfile.mkstemp: its files are 0600 whatever the umask, so colleagues could not read our records.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            # Network file systems may report a full disk only here, so the close belongs to the write.
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, so that they survive a crash of the machine.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush_folder(folder.parent)


def _write_all(descriptor: int, content: bytes) -> None:
    """os.write may write only the first part (it stops at 2 GiB, and where the disk gets full)."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _flush_folder(folder: Path) -> None:
    """Makes a rename in a folder survive a power cut. Some file systems cannot flush a folder; that is no error."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _remove_abandoned(target: Path, ours: Path) -> None:
    """Removes temporary files of `target` whose writer is gone. Ages are against our own new file: the server's clock.

    An old file of a writer that lives on this machine stays: the clock jumped.
    """
    now = ours.stat().st_mtime
    prefix, suffix = f".{target.name}.", ".tmp"
    for entry in os.scandir(target.parent):
        if entry.name.startswith(prefix) and entry.name.endswith(suffix) and entry.name != ours.name:
            with contextlib.suppress(OSError):
                lives = writer_lives(entry.name)
                if lives is False or (lives is None and now - entry.stat().st_mtime > ABANDONED_SECONDS):
                    os.unlink(entry.path)


def writer_lives(name: str) -> bool | None:
    """Whether the writer of a temporary file runs; None where it cannot be known from here."""
    found = TEMPORARY.fullmatch(name)
    if found is None or found["table"] != short_table():
        return None
    return is_alive(int(found["pid"]))


def _plain(value: object, where: str) -> object:
    """The value with JSON's own types only, keys sorted, NaN and infinities as None."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if number - number == 0.0 else None
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{where} has the key {wrong[0]!r}: JSON has text keys only")
        return {key: _plain(value[key], f"{where}.{key}") for key in sorted(value)}
    raise TypeError(f"{where} is a {type(value).__name__}: JSON cannot hold it")


def _lines(value: object, indent: str) -> str:
    """JSON text of what `_plain` returned. `indent` is that of the line on which the value starts."""
    inner = indent + " "
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.dumps(key)}: {_lines(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and not _numeric(value):
        return "[\n" + ",\n".join(inner + _lines(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _numeric(value: list[object]) -> bool:
    """Whether a list holds numbers, or lists of numbers, only. Nulls (NaN) and bools count; an empty list is one."""
    return all(_numeric(item) if isinstance(item, list) else not isinstance(item, str | dict) for item in value)
