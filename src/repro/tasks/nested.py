"""Rows inside rows: SQuAD's and MultiRC's questions and answers, ReCoRD's queries; every fault names its place."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping

from repro.errors import DataError


def items(holder: object, name: str, where: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The objects of a list in a field, each with its place.

    Raises:
        DataError: the holder is no object, or the field no list of objects.
    """
    found = holder.get(name) if isinstance(holder, Mapping) else None
    if not isinstance(found, list):
        raise DataError(f"{where}: {name!r} is {reprlib.repr(found)}: a list of objects is needed.")
    for number, item in enumerate(found, 1):
        place = f"{where} {name} {number}"
        if not isinstance(item, Mapping):
            raise DataError(f"{place} is {reprlib.repr(item)}: a JSON object {{...}} is needed.")
        yield place, item


def inner(holder: Mapping[str, object], name: str, where: str) -> Mapping[str, object]:
    """The object in a field.

    Raises:
        DataError: the field is no object.
    """
    found = holder.get(name)
    if not isinstance(found, Mapping):
        raise DataError(f"{where}: {name!r} is {reprlib.repr(found)}: a JSON object {{...}} is needed.")
    return found


def whole(holder: Mapping[str, object], name: str, where: str, *, least: int = 0) -> int:
    """The whole number in a field.

    Raises:
        DataError: the field is no whole number of at least `least`.
    """
    found = holder.get(name)
    if type(found) is not int or found < least:  # type(), because True is an int
        raise DataError(f"{where}: {name!r} is {reprlib.repr(found)}: a whole number of at least {least} is needed.")
    return found
