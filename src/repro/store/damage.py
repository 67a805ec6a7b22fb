"""Damaged files: JSON is read strictly, values have the types that are expected, and what is wrong has a type too."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from repro.config.conversion import from_plain
from repro.errors import ConfigError, StoreError, os_fault
from repro.store.files import read_whole

T = TypeVar("T")
DEEPEST = 64
"""Levels of nesting of JSON that is read; what the project writes has fewer than 20."""
RESTORE = "restore it (git checkout -- FILE, if it is kept in git), or delete it and run the trial again"
_HALF = re.compile("[\ud800-\udb7f\udb80-\udbff\udc00-\udc7f\udd00-\udfff]")
"""Halves of a character; U+DC80 to U+DCFF stand for the bytes of file names that are no UTF-8."""

_CONTAINERS = frozenset({dict, list})


class Damaged(StoreError):
    """A file that must not be used. Whoever reads many files collects these, goes on, and shows `damage_text`."""

    def __init__(self, path: Path, what: str, fix: str = RESTORE) -> None:
        super().__init__(f"{path}: {what}. To fix it, {fix}.")
        self.path, self.what, self.fix = path, what, fix


OnDamage = Callable[[Damaged], object]
"""Called with each damaged file among many, which is then left out: `damaged.append` of a list, say."""


def damage_text(damaged: Sequence[Damaged]) -> str:
    """The lines to show before anything else where damaged files were left out; empty where there are none."""
    if not damaged:
        return ""
    count = "1 damaged file is" if len(damaged) == 1 else f"{len(damaged)} damaged files are"
    return "\n".join([f"{count} left out (`repro store verify` checks all):", *(f"  {error}" for error in damaged)])


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: there is no such file (the caller knows what that means).
        Damaged: it cannot be read.
    """
    try:
        return read_whole(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        what, fix = os_fault(error)
        raise Damaged(path, f"cannot be read: {what}", fix) from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: it cannot be read, or `parsed` refuses it.
    """
    return parsed_file(Path(path), read_bytes(Path(path)))


def read_as(schema: type[T], path: Path) -> T:
    """The dataclass that a JSON file holds, with every key known and every value of its type.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: it cannot be read, or holds something else.
    """
    try:
        return from_plain(schema, read_json(path), {})
    except ConfigError as error:
        raise Damaged(path, f"is damaged ({error})") from error


def parsed_file(path: Path, text: bytes) -> Any:
    """`parsed`, of a file's content."""
    try:
        return parsed(text)
    except ValueError as error:
        raise Damaged(path, f"is damaged: it is not JSON ({error})") from error


def parsed(text: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, as RFC 8259 has it (NaN is no number), names a key twice, is nested more than
            `DEEPEST` levels, or holds half a character, which no terminal and no page can show.
    """
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} levels") from None
    _refuse_depth(value, DEEPEST)
    if (rb"\ud" in text or rb"\uD" in text) and _HALF.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("it holds half of a character")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _refuse_depth(value: object, left: int) -> None:
    if not left:
        raise ValueError(f"it is nested more than {DEEPEST} levels")
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not _CONTAINERS.isdisjoint(map(type, items)):  # most lists hold numbers alone
        for item in items:
            _refuse_depth(item, left - 1)
