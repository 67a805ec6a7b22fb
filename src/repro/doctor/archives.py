"""Unpack files from an untrusted zip or tar archive: no member may lead out of it, link, or be a device."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from repro.errors import DataError, explained
from repro.store.files import make_folder

MOST_UNPACKED = 20
ALWAYS_UNPACKED = 1 << 30
"""An archive is refused if its wanted members hold more than this many times its own bytes, and more than 1 GiB."""
PIECE = 1 << 20


def unpacked(archive: Path, wanted: Mapping[str, str], dest: Path) -> list[Path]:
    """Write the wanted members below `dest`, each in one step.

    Args:
        wanted: {end of a member's path: path below dest}.

    Raises:
        DataError: no archive; a member with an absolute path, with `..` or that is a link or a device (whether or not
            it is wanted); a wanted member that is missing, twice there, or far larger than the archive.
    """
    try:
        members = _Zip(archive) if zipfile.is_zipfile(archive) else _Tar(archive)
        with members as opened:
            names = _trusted(opened.entries())
            chosen = {place: _only(names, member, archive) for member, place in wanted.items()}
            total = sum(names[name] for name in chosen.values())
            if total > max(ALWAYS_UNPACKED, MOST_UNPACKED * archive.stat().st_size):
                raise DataError(f"{archive} would unpack to {total:,} bytes: it is not what it seems. Remove it.")
            return [_written(opened.open(name), dest / place, names[name]) for place, name in chosen.items()]
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive} cannot be unpacked ({error}). Remove it and fetch it again.") from error


class _Zip:
    """Members of a zip file."""

    def __init__(self, path: Path):
        self._file = zipfile.ZipFile(path)

    def entries(self) -> Iterator[tuple[str, int, bool]]:
        """(name, size, is a plain file or folder) of each member."""
        for info in self._file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            yield info.filename, info.file_size, kind in (0, stat.S_IFREG, stat.S_IFDIR)

    def open(self, name: str) -> IO[bytes]:
        return self._file.open(name)

    def __enter__(self) -> _Zip:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _Tar:
    """Members of a tar file, packed or not."""

    def __init__(self, path: Path):
        self._file = tarfile.open(path)  # noqa: SIM115 (closed by __exit__)

    def entries(self) -> Iterator[tuple[str, int, bool]]:
        """As in `_Zip`."""
        for info in self._file.getmembers():
            yield info.name, info.size, info.isfile() or info.isdir()

    def open(self, name: str) -> IO[bytes]:
        stream = self._file.extractfile(name)
        assert stream is not None
        return stream

    def __enter__(self) -> _Tar:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _trusted(entries: Iterator[tuple[str, int, bool]]) -> dict[str, int]:
    """{name: size} of an archive all of whose members stay inside it.

    Raises:
        DataError: one does not, or is no plain file; or a name is there twice.
    """
    sizes: dict[str, int] = {}
    for name, size, plain in entries:
        path = PurePosixPath(name)
        outside = not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]
        if outside or not plain:
            why = "leads out of the archive" if outside else "is a link or a device"
            raise DataError(f"the archive's member {name!r} {why}: it is not to be trusted, and nothing was unpacked.")
        if name in sizes:
            raise DataError(f"the archive has {name!r} twice: it is not to be trusted, and nothing was unpacked.")
        sizes[name] = size
    return sizes


def _only(names: Mapping[str, int], member: str, archive: Path) -> str:
    """The one member whose path ends in these parts (macOS' shadow files aside)."""
    parts = PurePosixPath(member).parts
    matching = [
        name
        for name in names
        if PurePosixPath(name).parts[-len(parts) :] == parts and "__MACOSX" not in name and not name.endswith("/")
    ]
    if len(matching) != 1:
        raise DataError(f"{archive} has {len(matching)} members {member!r}, one is needed: {sorted(names)[:9]}.")
    return matching[0]


def _written(stream: IO[bytes], target: Path, size: int) -> Path:
    """Copy a member to its place, complete or not at all."""
    part = target.with_name(f"{target.name}.part")
    with explained(target, "write"):
        make_folder(target.parent)
        try:
            with stream, part.open("wb") as out:
                written = 0
                while piece := stream.read(PIECE):
                    written += len(piece)
                    if written > size:
                        raise DataError(f"{target.name}: the archive says {size:,} bytes and holds more. Remove it.")
                    out.write(piece)
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return target
