"""What a record's config says of its trial: typed, and tolerant of what a config may lack.

A record outlives the schema that it was written with, and may come from a plugin that is not loaded here. So its config
is not converted to a `TrialConfig`, which is strict; what the report reads of it stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

Plain = Mapping[str, object]


@dataclass(frozen=True)
class MethodFacts:
    """Of the section `method`."""

    name: str | None
    head: str | None
    layers: str
    """`all`, `first:n` or `last:n`."""
    blocks: int | None
    tunes_backbone: bool
    init_text: str | None
    start_from: str | None
    start_task: str | None


@dataclass(frozen=True)
class ModelFacts:
    """Of the section `model`."""

    name: str | None
    paper_name: str | None
    layers: int | None
    parameters: int | None


@dataclass(frozen=True)
class TaskFacts:
    """Of the section `task`."""

    name: str | None
    paper_name: str | None
    report_split: str | None
    limit: Plain
    """{split: most examples}, without the splits that have no limit."""
    low_data: Plain
    rows: Plain
    """{split: rows of the original data}; a mixture's are `part/split`."""
    checks_rows: bool
    is_mixture: bool
    metrics: tuple[Plain, ...]
    """Configs of all metrics, those that change no result (`also_metrics`) last."""
    has_own_metrics: bool
    """Whether `metrics` of the task itself is not empty (a mixture may have its parts' alone)."""
    sentinel: bool
    train_task: str | None


@dataclass(frozen=True)
class RecipeFacts:
    """Of the section `recipe`."""

    name: str | None
    paper: str | None
    exhibit: str | None
    unknown: tuple[str, ...]
    search: Mapping[str, list[object]]
    """{override: values} of the authors' search."""


class TrialFacts:
    """A trial, as its record's config describes it; whatever that lacks is None, empty or the schema's default.

    A large store has thousands of records, of most of which only a section is asked for: each is read once, on demand.
    """

    def __init__(self, config: Plain):
        self._config = config

    @cached_property
    def method(self) -> MethodFacts:
        """Of the section `method`."""
        method = group_of(self._config.get("method"))
        return MethodFacts(
            name=_text(method.get("name")),
            head=_text(method.get("head")),
            layers=str(method.get("layers") or "all"),
            blocks=_whole(method.get("blocks")),
            tunes_backbone=bool(method.get("tune_backbone")),
            init_text=_text(method.get("init_text")),
            start_from=_text(method.get("start_from")),
            start_task=_text(method.get("start_task")),
        )

    @cached_property
    def model(self) -> ModelFacts:
        """Of the section `model`."""
        model = group_of(self._config.get("model"))
        return ModelFacts(
            name=_text(model.get("name")),
            paper_name=_text(model.get("paper_name")),
            layers=_whole(model.get("layers")),
            parameters=_whole(model.get("parameters")),
        )

    @cached_property
    def task(self) -> TaskFacts:
        """Of the section `task`."""
        task = group_of(self._config.get("task"))
        limit, parts = group_of(task.get("limit")), group_of(task.get("parts"))
        rows = {
            f"{name}/{split}": count
            for name, part in parts.items()
            for split, count in group_of(group_of(part).get("rows")).items()
        }
        return TaskFacts(
            name=_text(task.get("name")),
            paper_name=_text(task.get("paper_name")),
            report_split=_text(task.get("report_split")),
            limit={split: limit[split] for split in ("train", "validation", "test") if limit.get(split) is not None},
            low_data=group_of(task.get("low_data")),
            rows=rows | group_of(task.get("rows")),
            checks_rows=task.get("check_rows") is not False,
            is_mixture=bool(parts),
            metrics=tuple(group_of(metric) for key in ("metrics", "also_metrics") for metric in _items(task.get(key))),
            has_own_metrics=bool(task.get("metrics")),
            sentinel=bool(task.get("sentinel")),
            train_task=_text(group_of(task.get("options")).get("train_task")),
        )

    @cached_property
    def recipe(self) -> RecipeFacts:
        """Of the section `recipe`."""
        recipe = group_of(self._config.get("recipe"))
        return RecipeFacts(
            name=_text(recipe.get("name")),
            paper=_text(recipe.get("paper")),
            exhibit=_text(recipe.get("exhibit")),
            unknown=tuple(map(str, _items(recipe.get("unknown")))),
            search={path: _items(values) for path, values in group_of(recipe.get("search")).items()},
        )

    @property
    def experiment(self) -> str | None:
        """`experiment_name`"""
        return _text(self._config.get("experiment_name"))

    @property
    def steps(self) -> int | None:
        """`trainer.steps`"""
        return _whole(group_of(self._config.get("trainer")).get("steps"))


def value_at(config: Plain, path: str) -> object:
    """The value at a dotted path of a config, for a path that is data itself; None if it does not exist."""
    node: object = config
    for part in path.split("."):
        # A config is made of plain dicts; asking for a Mapping takes most of the time of a large store.
        node = node.get(part) if isinstance(node, dict) else None
    return node


def group_of(value: object) -> dict[str, object]:
    """A group of a config; empty where there is none."""
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
