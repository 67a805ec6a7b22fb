"""Dataclasses from plain values and back: strict about names and types, with errors that name the key."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, Union

from repro.errors import ConfigError

T = TypeVar("T")
Variants = Mapping[type, Callable[[Mapping[str, object]], type]]
"""{a schema: which of its subclasses some data are of}."""

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


_TYPES: dict[type, Mapping[str, object]] = {}
_REQUIRED: dict[type, tuple[str, ...]] = {}


def types_of(schema: type) -> Mapping[str, object]:
    """The fields of a schema and their types."""
    if schema not in _TYPES:
        hints = typing.get_type_hints(schema)
        _TYPES[schema] = {field.name: hints[field.name] for field in dataclasses.fields(schema)}
    return _TYPES[schema]


def required(schema: type) -> tuple[str, ...]:
    """The fields of a schema that have no default."""
    if schema not in _REQUIRED:
        _REQUIRED[schema] = tuple(
            field.name
            for field in dataclasses.fields(schema)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
    return _REQUIRED[schema]


def from_plain(schema: type[T], data: object, variants: Variants, path: str = "") -> T:
    """An instance of a dataclass from plain values. Fields left out have their defaults.

    Args:
        variants: where a field's schema has subclasses, what chooses one.
        path: where `data` stands in the whole config, with a dot at its end; for messages.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or no value where there is no default.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path.rstrip('.')}={data}: must be a group of keys. Give one.")
    if schema in variants:
        schema = typing.cast(type[T], variants[schema](data))
    kinds = types_of(schema)
    for key, value in data.items():
        if key not in kinds:
            raise ConfigError(
                f"{path}{key}={value}: {schema.__name__} has no such key, only {', '.join(kinds)}. "
                "Correct its name, or leave it out."
            )
    for key in required(schema):
        if key not in data:
            raise ConfigError(f"{path}{key}: this key is missing; {schema.__name__} needs it. Do not remove it.")
    return schema(**{key: _value(kinds[key], value, variants, path + key) for key, value in data.items()})


def _value(kind: object, value: object, variants: Variants, path: str) -> object:
    """A value as its field's type wants it; containers are copied."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return from_plain(kind, value, variants, f"{path}.")
    if kind in _WORDS:
        return _scalar(kind, value, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):  # only `X | None`
        return None if value is None else _value(arguments[0], value, variants, path)
    if origin is list:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise ConfigError(f"{path}={value}: must be a list. Give a value of that type.")
        return [_value(arguments[0], item, variants, f"{path}.{index}") for index, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}={value}: must be a group of keys. Give a value of that type.")
        return {str(key): _value(arguments[1], item, variants, f"{path}.{key}") for key, item in value.items()}
    return _copied(value)


def _scalar(kind: type, value: object, path: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{path}={value}: must be {_WORDS[kind]}. Give a value of that type.")
    return value


def _copied(value: object) -> object:
    """A copy of plain values, so that no two configs share a list."""
    if isinstance(value, Mapping):
        return {str(key): _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


def to_plain(value: object) -> dict[str, object]:
    """A dataclass as plain JSON values."""
    plain = plain_value(value)
    assert isinstance(plain, dict)
    return plain


def plain_value(value: object) -> object:
    """A dataclass, or what stands in one, as plain JSON values."""
    if dataclasses.is_dataclass(value):
        return {name: plain_value(getattr(value, name)) for name in types_of(type(value))}
    if isinstance(value, dict):
        return {key: plain_value(item) for key, item in value.items()}
    return [plain_value(item) for item in value] if isinstance(value, list) else value


def replaced(node: T, path: Sequence[str], value: object, variants: Variants, where: str = "") -> T:
    """A copy with another value at a path; everything that is not on the way is shared with the original.

    Args:
        value: plain; it is converted as `from_plain` does it.

    Raises:
        ConfigError: no such key, or a value of the wrong type.
    """
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        raise ConfigError(f"{where}{path[0]}={value}: there is no such key. Correct its name.")
    name, kinds = path[0], types_of(type(node))
    if name not in kinds:
        raise ConfigError(f"{where}{name}={value}: {type(node).__name__} has no such key. Correct its name.")
    before = getattr(node, name)
    if len(path) == 1:
        after = _value(kinds[name], value, variants, where + name)
    elif isinstance(before, dict):
        after = _value(kinds[name], _with(before, path[1:], value), variants, where + name)
    else:
        after = replaced(before, path[1:], value, variants, f"{where}{name}.")
    return dataclasses.replace(node, **{name: after})


def _with(group: dict[str, object], path: Sequence[str], value: object) -> object:
    """A copy of plain values with another one at a path."""
    group = {key: plain_value(item) for key, item in group.items()}
    inner = group.get(path[0])
    group[path[0]] = _with(inner if isinstance(inner, dict) else {}, path[1:], value) if path[1:] else value
    return group
