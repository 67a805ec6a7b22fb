"""The run key: a hash of what determines a trial's result, made of names and contents, never of places."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping

from repro.config.conversion import types_of
from repro.config.schema import TaskConfig, TrialConfig
from repro.errors import ConfigError
from repro.methods.fields import Facts, facts_of
from repro.methods.registry import method
from repro.methods.schema import MethodConfig

KEY_VERSION = 2
"""Part of every run key. Bump when the meaning of a config field changes."""

Plain = Mapping[str, object]
Wanted = Callable[[Facts], bool]


def run_key(config: TrialConfig | Plain) -> str:
    """16 hex digits that name a trial by content: equal for equal results, whatever the folder, tracker or sweep.

    Args:
        config: a trial's config, or what a record keeps of one.
    """
    content = {"key_version": KEY_VERSION, **result_fields(config)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def result_fields(config: TrialConfig | Plain) -> dict[str, object]:
    """The fields of a config that can change a result, nested as in the config.

    A method that is not registered here (of a record that somebody else made) keeps every field of its own.
    """
    plain = config.to_dict() if isinstance(config, TrialConfig) else config
    kept = fields_with(plain, lambda facts: facts.changes_result)
    method_fields, model, task = (_group(kept, name) for name in ("method", "model", "task"))
    if "model" in kept and not _stated(model, "weights"):  # then only name and revision say which weights they are
        model["revision"] = _group(plain, "model").get("revision")
    if method_fields.get("head") != "verbaliser":  # nobody else reads these
        task.pop("cloze", None)
        task.pop("verbaliser", None)
    return kept


def fields_with(plain: Plain, wanted: Wanted) -> dict[str, object]:
    """The fields of a plain config whose facts are as wanted, nested as in the config."""
    return _kept(TrialConfig, plain, wanted)


def flat(fields: Plain, path: str = "") -> Iterator[tuple[str, object]]:
    """(dotted path, value) of every value in nested fields."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


_FACTS: dict[type, Mapping[str, Facts]] = {}


def facts(schema: type) -> Mapping[str, Facts]:
    """The facts about each field of a schema."""
    if schema not in _FACTS:
        _FACTS[schema] = {field.name: facts_of(field) for field in dataclasses.fields(schema)}
    return _FACTS[schema]


def _kept(schema: type, plain: Plain, wanted: Wanted) -> dict[str, object]:
    known, kept = facts(schema), dict[str, object]()
    for name, value in plain.items():
        if name in known and not wanted(known[name]):
            continue
        if not isinstance(value, Mapping):
            kept[name] = value
        elif schema is TaskConfig and name == "parts":
            kept[name] = {part: _part(task, wanted) for part, task in value.items()}
        elif inner := _schema_below(schema, name, value):
            kept[name] = _kept(inner, value, wanted)
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


def _part(task: object, wanted: Wanted) -> object:
    """A mixture's task: without what the mixture sets for all of its parts, and without words of the cloze format."""
    if not isinstance(task, Mapping):
        return task
    kept = _kept(TaskConfig, task, lambda facts: wanted(facts) and not facts.set_by_mixture)
    return {name: value for name, value in kept.items() if name not in ("cloze", "verbaliser")}


def _group(fields: Plain, name: str) -> dict[str, object]:
    """A group of fields; an empty one where there is none."""
    group = fields.get(name)
    return group if isinstance(group, dict) else {}


def _stated(group: Plain, name: str) -> bool:
    return group.get(name) is not None
