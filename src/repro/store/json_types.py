"""Whether values of a JSON file have the types that a dataclass's or TypedDict's annotations name."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Hashable, Iterable
from functools import cache, partial
from itertools import chain
from typing import Any, Union

_UNIONS = (Union, types.UnionType)
_INFINITE = (float("inf"), float("-inf"))
"""What Python reads 1e999 as."""
Check = Callable[[object], str | None]
"""Where in a value the first of another type stands (`.test.accuracy`, `[3]`); None: nowhere."""


@cache
def checks_of(schema: Hashable) -> dict[str, Check]:
    """{field: its check}"""
    return {name: check_of(kind) for name, kind in typing.get_type_hints(schema).items()}


def check_of(kind: Any) -> Check:
    """The check of an annotation: scalars, lists, dicts with text keys, TypedDicts, unions; of any other: none."""
    if (scalars := _scalars(kind)) is not None:
        return partial(_scalar, scalars)
    if typing.is_typeddict(kind):
        return _typed_dict(checks_of(kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        checks = [check_of(argument) for argument in arguments]
        return lambda value: "" if all(check(value) is not None for check in checks) else None
    if origin is dict:
        inner = check_of(arguments[1])
        return lambda value: _first(inner, value.items(), ".{}") if isinstance(value, dict) else ""
    if origin is list:
        item = arguments[0]
        if (scalars := _scalars(item)) is not None:
            return partial(_list, scalars)
        if typing.get_origin(item) is list and (scalars := _scalars(typing.get_args(item)[0])) is not None:
            return partial(_rows, scalars)
        inner = check_of(arguments[0])
        return lambda value: _first(inner, enumerate(value), "[{}]") if isinstance(value, list) else ""
    return lambda value: None


def _scalars(kind: Any) -> frozenset[type] | None:
    """The types of values that an annotation of scalars alone allows."""
    if typing.get_origin(kind) in _UNIONS:
        parts = [_scalars(argument) for argument in typing.get_args(kind)]
        known = [part for part in parts if part is not None]
        return frozenset[type]().union(*known) if len(known) == len(parts) else None
    if kind is float:
        return frozenset({int, float})
    return frozenset({kind}) if kind in (int, str, bool, type(None)) else None


def _scalar(scalars: frozenset[type], value: object) -> str | None:
    return None if type(value) in scalars and value not in _INFINITE else ""


def _list(scalars: frozenset[type], values: object) -> str | None:
    if not isinstance(values, list) or not scalars.issuperset(map(type, values)):
        return ""
    return "" if any(number in values for number in _INFINITE) else None


def _rows(scalars: frozenset[type], rows: object) -> str | None:
    """Of statistics, nearly all that a record holds: checked at once, so the place is not said."""
    if not isinstance(rows, list) or not frozenset({list}).issuperset(map(type, rows)):
        return ""
    return _list(scalars, list(chain.from_iterable(rows)))


def _typed_dict(checks: dict[str, Check]) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, dict):
            return ""
        for name, inner in checks.items():
            if name in value and (place := inner(value[name])) is not None:
                return f".{name}{place}"
        return None

    return check


def _first(check: Check, items: Iterable[tuple[object, object]], form: str) -> str | None:
    for name, item in items:
        if (place := check(item)) is not None:
            return form.format(name) + place
    return None
