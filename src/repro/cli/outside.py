"""`--plugin` and `--config-dir`, which every command takes: code and configs from outside the package.

They become environment variables while the command runs, so that worker processes and jobs inherit them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from repro.config import plugins
from repro.config.folder import check_folder
from repro.errors import ConfigError
from repro.registry import plugin_names


@contextlib.contextmanager
def from_outside(words: Sequence[str]) -> Iterator[list[str]]:
    """Import the plugins and set the config folder for the body; yields the other words.

    Raises:
        ConfigError: an option without a value, a folder that is not there or could run code, a plugin that cannot be
            imported.
    """
    own, files = _taken(words, ("--plugin",))
    own, folders = _taken(own, ("--config-dir", "-cd"))
    changed: dict[str, str] = {}
    if named := [*plugin_names(), *files]:
        changed[plugins.VARIABLE] = plugins.joined(named)
    folder = Path(folders[-1]).expanduser() if folders else plugins.config_folder()
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir={folder}: there is no such folder.")
        changed[plugins.CONFIG_DIR] = str(folder.absolute())
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        plugins.load()
        if folder is not None:
            check_folder(folder)
        yield own
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _taken(words: Sequence[str], names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The words without an option, and the option's values."""
    kept: list[str] = []
    values: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name not in names:
            kept.append(word)
            continue
        value = value if equals else next(rest, "")
        if not value:
            raise ConfigError(f"{name} needs a value: {name} PATH.")
        values.append(value)
    return kept, values
