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

VARIABLE = "REPRO_PLUGINS"
"""Environment variable with dotted module names and absolute paths of files, separated by `os.pathsep`."""
CONFIG_DIR = "REPRO_CONFIG_DIR"
"""Environment variable with the folder of the user's own configs."""


def config_folder() -> Path | None:
    """The folder of the user's own configs (`--config-dir`)."""
    text = os.environ.get(CONFIG_DIR)
    return Path(text) if text else None


def named() -> list[str]:
    """The plugins of this process's environment."""
    return [text for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]


def joined(plugins: Iterable[str]) -> str:
    """A value of the environment variable: each plugin once, files by their absolute paths."""
    return os.pathsep.join(dict.fromkeys(str(Path(text).absolute()) if _is_file(text) else text for text in plugins))


def load() -> None:
    """Import every plugin of the environment; one that is loaded already is not imported again.

    Raises:
        ConfigError: a plugin that is not there, or fails while it is imported.
    """
    for text in named():
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
