"""Methods by name. A built-in method is a module `repro.methods.<name>`; other packages call `register`.

Importing a method's module registers its settings and loads no torch; only `build` does.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from repro.errors import ConfigError
from repro.methods.schema import Capabilities, MethodConfig, settings_from

if TYPE_CHECKING:
    from repro.methods.base import Method

T = TypeVar("T")


class Registry(Generic[T]):
    """Things by name: those that registered themselves, and those whose module in `package` does so when imported."""

    def __init__(self, noun: str, package: str):
        self._noun, self._package = noun, package
        self._entries: dict[str, T] = {}
        self._owners: dict[str, str] = {}

    def add(self, name: str, entry: T, module: str) -> None:
        """Register `entry`; a module may register its own name again (when it is reloaded).

        Raises:
            ConfigError: the name belongs to another module.
        """
        if self._owners.setdefault(name, module) != module:
            raise ConfigError(
                f"{module}: the {self._noun} {name} is registered by {self._owners[name]} already. Choose another name."
            )
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self._entries and name.isidentifier():
            module = f"{self._package}.{name}"
            if importlib.util.find_spec(module) is not None:
                importlib.import_module(module)
        if name not in self._entries:
            raise ConfigError(f"{self._noun}={name}: must be one of {', '.join(self.names())}. Choose one of these.")
        return self._entries[name]

    def names(self) -> list[str]:
        """Every name, built-in or registered from outside."""
        for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
            if not module.ispkg:
                importlib.import_module(f"{self._package}.{module.name}")
        return sorted(self._entries)


@dataclass(frozen=True)
class MethodKind:
    """A registered method: its name, its settings, and what it can do."""

    name: str
    schema: type[MethodConfig]

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, whatever its settings."""
        return self.schema.capabilities

    def settings(self, values: Mapping[str, object]) -> MethodConfig:
        """Settings from a mapping; an unknown key is an error."""
        return settings_from(self.schema, {"name": self.name, **values})

    def build(self, config: MethodConfig, init_words: Sequence[str] = ()) -> Method:
        """The method with these settings (loads torch); as `MethodConfig.build`."""
        return config.build(init_words)


_METHODS: Registry[MethodKind] = Registry("method", "repro.methods")


def register(name: str, schema: type[MethodConfig]) -> None:
    """Make a method known under a name."""
    _METHODS.add(name, MethodKind(name, schema), schema.__module__)


def method(name: str) -> MethodKind:
    """The method registered under that name.

    Raises:
        ConfigError: there is none.
    """
    return _METHODS.get(name)


def names() -> list[str]:
    """Names of all methods."""
    return _METHODS.names()


def build(name: str, **settings: object) -> Method:
    """A method from its name and settings, for code that has no config."""
    kind = method(name)
    return kind.build(kind.settings(settings))
