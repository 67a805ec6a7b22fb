"""Metrics by name. A built-in metric is the module `repro.metrics.<name>`; other packages call `register`.

A module registers its one metric when it is imported, which happens when its name is first asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import TypeVar

from repro.errors import ConfigError
from repro.metrics.base import AnyMetric
from repro.registry import Registry

Kind = TypeVar("Kind", bound=type[AnyMetric])


_METRICS: Registry[type[AnyMetric]] = Registry("metric", "repro.metrics", ConfigError)


def register(name: str) -> Callable[[Kind], Kind]:
    """Make a metric class known under a name: `@register("my_metric")`."""

    def decorate(kind: Kind) -> Kind:
        _METRICS.add(name, kind, kind.__module__)
        return kind

    return decorate


def names() -> list[str]:
    """Names of all metrics."""
    return _METRICS.names()


def metric_class(name: str) -> type[AnyMetric]:
    """The class registered under a name.

    Raises:
        ConfigError: there is none.
    """
    return _METRICS.get(name)


def metric(name: str, **options: object) -> AnyMetric:
    """The metric of that name.

    Raises:
        ConfigError: there is none, or it does not take these options.
    """
    kind = metric_class(name)
    check_options(f"the metric {name}", kind, options)
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the metric {name}: {error}") from error


def build_metric(config: Mapping[str, object], labels: Sequence[str] = ()) -> AnyMetric:
    """The metric that `{name: NAME, option: value}` describes, as it stands in a task's config and in records.

    Args:
        labels: of the task, where it has some; an option `classes` is their number.

    Raises:
        ConfigError: no name, as `metric`, or a metric that does not fit the labels.
    """
    name = config.get("name") if isinstance(config, Mapping) else None
    if not isinstance(name, str):
        raise ConfigError(f"a metric of a task is {config}: give its name, and its options beside it.")
    options = {str(key): value for key, value in config.items() if key != "name"}
    kind: Callable[..., object] = metric_class(name)
    if labels and "classes" in _options(kind, 0)[0]:
        given = options.setdefault("classes", len(labels))
        if given not in (None, len(labels)):
            raise ConfigError(
                f"task.metrics: {name} has classes={given}, and the task has {len(labels)} labels "
                f"({', '.join(labels)}). Leave `classes` out."
            )
        options["classes"] = len(labels)
    return metric(name, **options)


def check_options(owner: str, make: Callable[..., object], options: Collection[str], given: int = 0) -> None:
    """Refuse options that `make` does not take by keyword, and a lack of those that it needs.

    Args:
        owner: who takes them, for the message.
        given: how many leading positional arguments are no options.

    Raises:
        ConfigError: with the options that are allowed.
    """
    allowed, required = _options(make, given)
    needed = [name for name in required if name not in options]
    unknown = [name for name in options if name not in allowed]
    if unknown or needed:
        raise ConfigError(
            f"{owner} takes the options {', '.join(allowed) or 'none'}"
            + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            + (f"; missing: {', '.join(needed)}" if needed else "")
            + "."
        )


@cache
def _options(make: Callable[..., object], given: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the options that `make` takes, and of those that it needs: a report asks for the same few very often."""
    parameters = inspect.signature(make).parameters.values()
    taken = [one for one in parameters if one.kind is not one.VAR_KEYWORD][given:]
    return tuple(one.name for one in taken), tuple(one.name for one in taken if one.default is one.empty)
