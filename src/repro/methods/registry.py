"""Methods by name. A built-in method is a module `repro.methods.<name>`; other packages call `register`.

Importing a method's module registers its settings and loads no torch; only `build` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.errors import ConfigError
from repro.methods.base import Method
from repro.methods.schema import Capabilities, MethodConfig, settings_from
from repro.registry import Registry


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


_METHODS: Registry[MethodKind] = Registry("method", "repro.methods", ConfigError)


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
