"""The data sets as folders on disk: written whole when first asked for, and never again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from repro.errors import ConfigError, DataError
from repro.tasks.microworld import VERSION
from repro.tasks.microworld.datasets import DATASETS

SPLITS = ("train", "validation", "test")


def folder(name: str) -> Path:
    """Where this version of a data set lies: `$XDG_CACHE_HOME/repro/microworld-v1/<name>`, in `~/.cache` by default.

    Raises:
        ConfigError: there is no such data set.
    """
    if name not in DATASETS:
        raise ConfigError(
            f"task.data_dir ends in {name}: with task.source=microworld it must end in one of {', '.join(DATASETS)}."
        )
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "repro" / f"microworld-v{VERSION}" / name


def ensure(folder: Path) -> None:
    """Write the data set that the folder is named after, unless the folder is there.

    It is written beside its place and renamed, so that another process never sees half of it. One process at a time
    writes where the file system has locks that end with their process; it removes what killed ones left.

    Raises:
        DataError: the place cannot be written to.
    """
    if folder.is_dir():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.parent) as alone:
            for left in folder.parent.glob(".*-*") if alone else ():
                shutil.rmtree(left, ignore_errors=True)
            if not folder.is_dir():
                _write(folder)
    except OSError as error:
        raise DataError(
            f"task.data_dir={folder}: the data set is made there and cannot be written ({error.strerror}). Set "
            "XDG_CACHE_HOME to a folder that can."
        ) from error


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock; whether it could be had."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # a file system without such locks
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _write(folder: Path) -> None:
    new = folder.parent / f".{folder.name}-{secrets.token_hex(8)}"
    new.mkdir()
    try:
        for split in SPLITS:
            for name, content in DATASETS[folder.name](split).items():
                (new / name).write_text(content, encoding="utf-8")
        try:
            os.rename(new, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
