"""Things found by name: built-in ones in a package of modules, others registered from outside."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import pkgutil
from typing import Generic, TypeVar

T = TypeVar("T")

PLUGINS = "REPRO_PLUGINS"
"""Environment variable with dotted module names and absolute paths of files, separated by `os.pathsep`."""


def plugin_names() -> list[str]:
    """The plugins of this process's environment."""
    return [text for text in os.environ.get(PLUGINS, "").split(os.pathsep) if text]


class Registry(Generic[T]):
    """Entries that registered themselves, and those whose module in `package` does so when it is imported."""

    def __init__(self, key: str, package: str, error: type[Exception]):
        """A registry without entries.

        Args:
            key: what a name is a value of, in messages: `model.family`.
            package: holds the built-in entries, each in the module of its name.
            error: what a wrong name raises.
        """
        self._key, self._package, self._error = key, package, error
        self._entries: dict[str, T] = {}
        self._owners: dict[str, str] = {}

    def add(self, name: str, entry: T, module: str) -> None:
        """Register `entry`; a module may register its own name again (when it is reloaded).

        Raises:
            error: the name belongs to another module.
        """
        if self._owners.setdefault(name, module) != module:
            raise self._error(
                f"{module}: {self._key}={name} is registered by {self._owners[name]} already. Choose another name."
            )
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises:
            error: there is none.
        """
        module = f"{self._package}.{name}"
        if name not in self._entries and name.isidentifier() and importlib.util.find_spec(module) is not None:
            importlib.import_module(module)
        if name not in self._entries:
            near = difflib.get_close_matches(name, self.names(), 1)
            raise self._error(
                f"{self._key}={name}: must be one of {', '.join(self.names())}."
                + (f" Did you mean {near[0]}?" if near else "")
                + f" Set {self._key} to one of these, or register yours (--plugin)."
            )
        return self._entries[name]

    def names(self) -> list[str]:
        """Every name, built-in or registered from outside."""
        for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
            if not module.ispkg:
                importlib.import_module(f"{self._package}.{module.name}")
        return sorted(self._entries)
