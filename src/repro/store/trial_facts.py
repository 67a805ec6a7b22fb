"""What a record's config says of its trial: typed, and tolerant of what a config may lack.

A record outlives the schema that it was written with, and may come from a plugin that is not loaded here. So its config
is not converted to a `TrialConfig`, which is strict; what the report reads of it stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    unknown: tuple[str, ...]
    search: Mapping[str, list[object]]
    """{override: values} of the authors' search."""


@dataclass(frozen=True)
class TrialFacts:
    """A trial, as its record's config describes it."""

    method: MethodFacts
    model: ModelFacts
    task: TaskFacts
    recipe: RecipeFacts
    experiment: str | None
    steps: int | None
    """`trainer.steps`"""


def value_at(config: Plain, path: str) -> object:
    """The value at a dotted path of a config, for a path that is data itself; None if it does not exist."""
    node: object = config
    for part in path.split("."):
        # A config is made of plain dicts; asking for a Mapping takes most of the time of a large store.
        node = node.get(part) if isinstance(node, dict) else None
    return node


def trial_facts(config: Plain) -> TrialFacts:
    """The facts of a resolved config; whatever it lacks is None, empty or the schema's default."""
    method, model, task = (_group(config.get(name)) for name in ("method", "model", "task"))
    return TrialFacts(
        MethodFacts(
            name=_text(method.get("name")),
            head=_text(method.get("head")),
            layers=str(method.get("layers") or "all"),
            blocks=_whole(method.get("blocks")),
            tunes_backbone=bool(method.get("tune_backbone")),
            init_text=_text(method.get("init_text")),
            start_from=_text(method.get("start_from")),
            start_task=_text(method.get("start_task")),
        ),
        ModelFacts(
            name=_text(model.get("name")),
            paper_name=_text(model.get("paper_name")),
            layers=_whole(model.get("layers")),
            parameters=_whole(model.get("parameters")),
        ),
        _task_facts(task),
        _recipe_facts(_group(config.get("recipe"))),
        experiment=_text(config.get("experiment_name")),
        steps=_whole(_group(config.get("trainer")).get("steps")),
    )


def _task_facts(task: Plain) -> TaskFacts:
    limit, parts = _group(task.get("limit")), _group(task.get("parts"))
    rows = {
        f"{name}/{split}": count
        for name, part in parts.items()
        for split, count in _group(_group(part).get("rows")).items()
    }
    return TaskFacts(
        name=_text(task.get("name")),
        paper_name=_text(task.get("paper_name")),
        report_split=_text(task.get("report_split")),
        limit={split: limit[split] for split in ("train", "validation", "test") if limit.get(split) is not None},
        low_data=_group(task.get("low_data")),
        rows=rows | _group(task.get("rows")),
        checks_rows=task.get("check_rows") is not False,
        is_mixture=bool(parts),
        metrics=tuple(_group(metric) for key in ("metrics", "also_metrics") for metric in _items(task.get(key))),
        has_own_metrics=bool(task.get("metrics")),
        sentinel=bool(task.get("sentinel")),
        train_task=_text(_group(task.get("options")).get("train_task")),
    )


def _recipe_facts(recipe: Plain) -> RecipeFacts:
    return RecipeFacts(
        name=_text(recipe.get("name")),
        paper=_text(recipe.get("paper")),
        unknown=tuple(map(str, _items(recipe.get("unknown")))),
        search={path: _items(values) for path, values in _group(recipe.get("search")).items()},
    )


def _group(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
