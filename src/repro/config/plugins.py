"""What comes from outside the package: a folder of configs, and modules that register methods, tasks, metrics."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from repro.errors import ConfigError, ReproError
from repro.registry import PLUGINS, plugin_names

VARIABLE = PLUGINS
CONFIG_DIR = "REPRO_CONFIG_DIR"
"""Environment variable with the folder of the user's own configs."""


def config_folder() -> Path | None:
    """The folder of the user's own configs (`--config-dir`)."""
    text = os.environ.get(CONFIG_DIR)
    return Path(text).expanduser() if text else None


def words() -> list[str]:
    """The options that give a command what this process has from outside; paths are relative to the working folder."""

    def shown(text: str) -> str:
        path = Path(text)
        here = path.is_absolute() and path.is_relative_to(Path.cwd())
        return str(path.relative_to(Path.cwd())) if here else text

    folder = os.environ.get(CONFIG_DIR)
    options = ["--config-dir", shown(folder)] if folder else []
    return options + [word for text in plugin_names() for word in ("--plugin", shown(text))]


def joined(plugins: Iterable[str]) -> str:
    """A value of the environment variable: each plugin once, files by their absolute paths."""
    return os.pathsep.join(dict.fromkeys(str(Path(text).absolute()) if _is_file(text) else text for text in plugins))


def load() -> None:
    """Import every plugin of the environment; one that is loaded already is not imported again.

    Raises:
        ConfigError: a plugin that is not there, or fails while it is imported.
    """
    for text in plugin_names():
        try:
            if _is_file(text):
                _load_file(Path(text))
            else:
                importlib.import_module(text)
        except ReproError:
            raise
        except Exception as error:
            raise ConfigError(
                f"--plugin {text}: it cannot be imported ({type(error).__name__}: {error}). Correct it, or its path."
            ) from error


def _is_file(text: str) -> bool:
    return text.endswith(".py") or os.sep in text


def _load_file(path: Path) -> None:
    path = path.absolute()
    name = f"repro_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"--plugin {path}: there is no such Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
