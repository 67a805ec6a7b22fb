"""Metrics by name. A built-in metric is the module `repro.metrics.<name>`; other packages call `register`.

A module registers its one metric when it is imported, which happens when its name is first asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Collection, Mapping
from typing import Generic, TypeVar

from repro.errors import ConfigError
from repro.metrics.base import AnyMetric

T = TypeVar("T")
Kind = TypeVar("Kind", bound=type[AnyMetric])


class Registry(Generic[T]):
    """Things by name: those that registered themselves, and those whose module in `package` does so when imported."""

    def __init__(self, noun: str, package: str):
        self._noun, self._package = noun, package
        self._entries: dict[str, T] = {}
        self._modules: dict[str, str] = {}

    def add(self, name: str, entry: T, module: str) -> None:
        """Register `entry`; a module may register its own name again (when it is reloaded).

        Raises:
            ConfigError: the name belongs to another module.
        """
        if self._modules.setdefault(name, module) != module:
            raise ConfigError(
                f"{module}: the {self._noun} {name} is registered by {self._modules[name]} already. Choose another "
                "name."
            )
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises:
            ConfigError: there is none.
        """
        module = f"{self._package}.{name}"
        if name not in self._entries and name.isidentifier() and importlib.util.find_spec(module) is not None:
            importlib.import_module(module)
        if name not in self._entries:
            raise ConfigError(
                f"there is no {self._noun} {name!r}: choose one of {', '.join(self.names())}, or register yours."
            )
        return self._entries[name]

    def names(self) -> list[str]:
        """Every name, built-in or registered from outside."""
        for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
            if not module.ispkg:
                importlib.import_module(f"{self._package}.{module.name}")
        return sorted(self._entries)


_METRICS: Registry[type[AnyMetric]] = Registry("metric", "repro.metrics")


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


def build_metric(config: Mapping[str, object]) -> AnyMetric:
    """The metric that `{name: NAME, option: value}` describes, as it stands in a task's config and in records.

    Raises:
        ConfigError: no name, or as `metric`.
    """
    name = config.get("name") if isinstance(config, Mapping) else None
    if not isinstance(name, str):
        raise ConfigError(f"a metric of a task is {config}: give its name, and its options beside it.")
    return metric(name, **{str(key): value for key, value in config.items() if key != "name"})


def check_options(owner: str, make: Callable[..., object], options: Collection[str], given: int = 0) -> None:
    """Refuse options that `make` does not take by keyword, and a lack of those that it needs.

    Args:
        owner: who takes them, for the message.
        given: how many leading positional arguments are no options.

    Raises:
        ConfigError: with the options that are allowed.
    """
    parameters = [one for one in inspect.signature(make).parameters.values() if one.kind is not one.VAR_KEYWORD][given:]
    needed = [one.name for one in parameters if one.default is one.empty and one.name not in options]
    allowed = [one.name for one in parameters]
    unknown = [name for name in options if name not in allowed]
    if unknown or needed:
        raise ConfigError(
            f"{owner} takes the options {', '.join(allowed) or 'none'}"
            + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            + (f"; missing: {', '.join(needed)}" if needed else "")
            + "."
        )
