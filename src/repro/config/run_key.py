"""The run key: a hash of what determines a trial's result, made of names and contents, never of places."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping

from repro.config.conversion import types_of
from repro.config.schema import TaskConfig, TrialConfig
from repro.errors import ConfigError
from repro.methods.fields import Facts, facts_of
from repro.methods.registry import method
from repro.methods.schema import MethodConfig

KEY_VERSION = 2
"""Part of every run key. Bump when the meaning of a config field changes."""

Plain = Mapping[str, object]


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
    kept = _kept(TrialConfig, plain)
    method_fields, model, task = (_group(kept, name) for name in ("method", "model", "task"))
    if "model" in kept and not _stated(model, "weights"):  # then only name and revision say which weights they are
        model["revision"] = _group(plain, "model").get("revision")
    if method_fields.get("head") != "verbaliser":  # nobody else reads these
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


def facts(schema: type) -> Mapping[str, Facts]:
    """The facts about each field of a schema."""
    if schema not in _FACTS:
        _FACTS[schema] = {field.name: facts_of(field) for field in dataclasses.fields(schema)}
    return _FACTS[schema]


def _kept(schema: type, plain: Plain) -> dict[str, object]:
    """The fields that can change a result, those of groups inside too."""
    known, kept = facts(schema), dict[str, object]()
    for name, value in plain.items():
        if name in known and not known[name].changes_result:
            continue
        if not isinstance(value, dict):
            kept[name] = value
        elif schema is TaskConfig and name == "parts":
            kept[name] = {part: _part(task) for part, task in value.items()}
        elif inner := _schema_below(schema, name, value):
            kept[name] = _kept(inner, value)
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


def _part(task: object) -> object:
    """A mixture's task: without what the mixture sets for all of its parts, and without words of the cloze format."""
    if not isinstance(task, Mapping):
        return task
    known = facts(TaskConfig)
    dropped = {"cloze", "verbaliser", *(name for name, fact in known.items() if fact.set_by_mixture)}
    return {name: value for name, value in _kept(TaskConfig, task).items() if name not in dropped}


def _group(fields: Plain, name: str) -> dict[str, object]:
    """A group of fields; an empty one where there is none."""
    group = fields.get(name)
    return group if isinstance(group, dict) else {}


def _stated(group: Plain, name: str) -> bool:
    return group.get(name) is not None
