"""Kinds of task by name, and tasks from their configs. A built-in kind is the module `repro.tasks.<name>`.

Other packages call `register`. A new data set of a known kind is one file of conf/task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from repro.config.schema import TaskConfig
from repro.config.task_schema import SplitLimits
from repro.errors import ConfigError
from repro.metrics.registry import build_metric, check_options
from repro.registry import Registry
from repro.tasks.base import Task, TaskOfParts, TaskSection
from repro.tasks.wording import AS_IT_IS, Wording, worded

Kind = TypeVar("Kind", bound=type[Task])

_COPIED = {field.name for field in fields(TaskSection)} & {field.name for field in fields(TaskConfig)}
_COPIED -= {"format", "metrics", "also_metrics", "parts"}
"""Fields of a task's config that a kind is told as they are."""

_KINDS: Registry[type[Task]] = Registry("task.kind", "repro.tasks", ConfigError)


def register(name: str) -> Callable[[Kind], Kind]:
    """Make a subclass of `Task` known under a name, the `kind` of configs: `@register("my_kind")`."""

    def decorate(kind: Kind) -> Kind:
        _KINDS.add(name, kind, kind.__module__)
        return kind

    return decorate


def names() -> list[str]:
    """Names of all kinds."""
    return _KINDS.names()


def task_kind(name: str) -> type[Task]:
    """The class registered under a name.

    Raises:
        ConfigError: there is none.
    """
    return _KINDS.get(name)


def build_task(config: TaskConfig, format: str, wording: Wording = AS_IT_IS) -> Task:
    """The task of a config in one of its formats, said as the method wants it; reads nothing yet.

    Raises:
        ConfigError: no such kind, option or metric, or a value that the kind refuses.
    """
    if config.parts:
        return task_in_format(config, format, _parts(config, format, wording))
    # A classification task in the words of a cloze is read as a pair.
    inner = "pair" if format == "cloze" and "pair" in config.formats else format
    return worded(task_in_format(config, inner), config, format, wording)


def check_task(config: TaskConfig) -> None:
    """Refuse a config that names no kind, or options that its kind (or that of a part) does not take.

    Raises:
        ConfigError: as `build_task`, as far as it can be told without the values.
    """
    kind = task_kind(config.kind)
    _split_options(kind, config.name, config.options)
    for part in config.parts.values():
        check_task(part)


def task_in_format(config: TaskConfig, format: str, parts: Mapping[str, Task] | None = None) -> Task:
    """The task of a config in one of its formats, in its own words; reads nothing yet.

    Raises:
        ConfigError: as `build_task`.
    """
    kind = task_kind(config.kind)
    if config.decoding.labels == "score" and format == "text_to_text" and not kind.answers_with_labels:
        raise ConfigError(
            f"task.decoding.labels=score: the targets of {config.name} as text are no labels. Set "
            "task.decoding.labels=generate."
        )
    section = TaskSection(
        **{name: getattr(config, name) for name in _COPIED},
        format=format,
        metrics=[build_metric(metric, config.labels) for metric in config.metrics],
        also_metrics=[build_metric(metric, config.labels) for metric in config.also_metrics],
        parts=parts or {},
    )
    return make_task(kind, section, config.options)


def make_task(kind: type[Task], section: TaskSection, options: Mapping[str, Any]) -> Task:
    """A task of a kind with its `task.options`: those of the section, and those of the kind's constructor.

    Raises:
        ConfigError: an option that neither takes, or a value that the kind refuses.
    """
    shared, of_kind = _split_options(kind, section.name, options)
    return kind(replace(section, **shared), **of_kind)


def _split_options(kind: type[Task], name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that are fields of the section, and those of the kind's constructor."""
    shared = {key: options[key] for key in kind.shared_options if options.get(key) is not None}
    of_kind = {key: value for key, value in options.items() if key not in kind.shared_options}
    check_options(f"task.options of {name}", kind, of_kind, given=1)
    return shared, of_kind


def _parts(config: TaskConfig, format: str, wording: Wording) -> dict[str, Task]:
    """Every part as it would be alone, but in the whole's format, with its switches, source and limits."""
    kind = task_kind(config.kind)
    if not issubclass(kind, TaskOfParts):
        raise ConfigError(f"task.parts of {config.name}: the kind {config.kind} is not made of parts. Leave them out.")
    parts: dict[str, Task] = {}
    for name, part in config.parts.items():
        part = replace(
            part,
            sentinel=config.sentinel,
            task_name_prefix=config.task_name_prefix,
            source=config.source,
            check_rows=config.check_rows,
        )
        if replace(part.limit, seed=0) == SplitLimits():  # it has none of its own
            part = replace(part, limit=kind.part_limit(name, config.options, config.limit))
        parts[name] = build_task(part, format, wording)
    return parts
