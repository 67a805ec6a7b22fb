"""The run key: a hash of what determines a trial's result, made of names and contents, never of places.

A field at its default is no part of the key. A field that is added later, with the behaviour of before as its default,
therefore leaves the key of every older trial as it is; nobody keeps a list of such fields.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING

from repro.config.conversion import plain_value, required, types_of
from repro.config.schema import TaskConfig, TrialConfig
from repro.errors import ConfigError
from repro.methods.fields import Facts, facts_of
from repro.methods.registry import method
from repro.methods.schema import MethodConfig

KEY_VERSION = 3
"""Part of every run key. Bump when the meaning or the default of a config field changes."""

Plain = Mapping[str, object]


def run_key(config: TrialConfig | Plain) -> str:
    """16 hex digits that name a trial by content: equal for equal results, whatever the folder, tracker or sweep.

    Args:
        config: a trial's config, or what a record keeps of one.
    """
    content = {"key_version": KEY_VERSION, **_fields(config, defaults=False)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def result_fields(config: TrialConfig | Plain) -> dict[str, object]:
    """The fields of a config that can change a result, nested as in the config, those at their defaults included.

    A method that is not registered here (of a record that somebody else made) keeps every field of its own.
    """
    return _fields(config, defaults=True)


def _fields(config: TrialConfig | Plain, defaults: bool) -> dict[str, object]:
    """The same, with or without the fields that have their default."""
    plain = config.to_dict() if isinstance(config, TrialConfig) else config
    kept = _kept(TrialConfig, plain, defaults)
    model, task = _group(kept, "model"), _group(kept, "task")
    if "model" in kept and not _stated(model, "weights"):  # then only name and revision say which weights they are
        model["revision"] = _group(plain, "model").get("revision")
    if not _fills_gaps(plain):  # nobody else reads these
        task.pop("cloze", None)
        task.pop("verbaliser", None)
    return kept


def flat(fields: Plain, path: str = "") -> Iterator[tuple[str, object]]:
    """(dotted path, value) of every value in nested fields."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


_FACTS: dict[type, Mapping[str, Facts]] = {}
_DEFAULTS: dict[type, Plain] = {}


def facts(schema: type) -> Mapping[str, Facts]:
    """The facts about each field of a schema."""
    if schema not in _FACTS:
        _FACTS[schema] = {field.name: facts_of(field) for field in dataclasses.fields(schema)}
    return _FACTS[schema]


def defaults_of(schema: type) -> Plain:
    """{field: its default} of the fields that have one, as plain values."""
    if schema not in _DEFAULTS:
        optional = [field for field in dataclasses.fields(schema) if field.name not in required(schema)]
        _DEFAULTS[schema] = {
            field.name: plain_value(field.default if field.default_factory is MISSING else field.default_factory())
            for field in optional
        }
    return _DEFAULTS[schema]


def _kept(schema: type, plain: Plain, defaults: bool) -> dict[str, object]:
    """The fields that can change a result, those of groups inside too, with or without those at their defaults."""
    known, kept = facts(schema), dict[str, object]()
    for name, value in plain.items():
        if name in known and not known[name].changes_result:
            continue
        if not defaults and name in defaults_of(schema) and defaults_of(schema)[name] == value:
            continue
        if not isinstance(value, dict):
            kept[name] = value
        elif schema is TaskConfig and name == "parts":
            kept[name] = {part: _part(task, defaults) for part, task in value.items()}
        elif inner := _schema_below(schema, name, value):
            if group := _kept(inner, value, defaults):
                kept[name] = group
        else:
            kept[name] = value
    return kept


def _schema_below(schema: type, name: str, value: Plain) -> type | None:
    """The schema of a group inside a config; None where it is a plain value of its field."""
    kind = types_of(schema).get(name)
    if kind is MethodConfig:
        try:
            return method(str(value.get("name"))).schema
        except ConfigError:  # of a record that was made with a plugin, or of a vote
            return MethodConfig
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def _part(task: object, defaults: bool) -> object:
    """A mixture's task: without what the mixture sets for all of its parts, and without words of the cloze format."""
    if not isinstance(task, Mapping):
        return task
    known = facts(TaskConfig)
    dropped = {"cloze", "verbaliser", *(name for name, fact in known.items() if fact.set_by_mixture)}
    return {name: value for name, value in _kept(TaskConfig, task, defaults).items() if name not in dropped}


def _fills_gaps(plain: Plain) -> bool:
    """Whether a trial's head is the language model's own."""
    fields = _group(plain, "method")
    schema = _schema_below(TrialConfig, "method", fields) or MethodConfig
    return bool(fields.get("head", defaults_of(schema).get("head")) == "verbaliser")


def _group(fields: Plain, name: str) -> dict[str, object]:
    """A group of fields; an empty one where there is none."""
    group = fields.get(name)
    return group if isinstance(group, dict) else {}


def _stated(group: Plain, name: str) -> bool:
    return group.get(name) is not None
