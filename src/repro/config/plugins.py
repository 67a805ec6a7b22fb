"""What comes from outside the package: a folder of configs, and modules that register methods, tasks, metrics."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from repro.errors import ConfigError, ReproError

VARIABLE = "REPRO_PLUGINS"
"""Environment variable with dotted module names and absolute paths of files, separated by `os.pathsep`."""
_CALLED = ("_target_", "()", "class", "searchpath")
_TRUSTED = ("hydra_plugins.repro_", "hydra._internal.core_plugins.", "logging.", "ext://sys.std")
CONFIG_DIR = "REPRO_CONFIG_DIR"
"""Environment variable with the folder of the user's own configs."""


def config_folder() -> Path | None:
    """The folder of the user's own configs (`--config-dir`)."""
    text = os.environ.get(CONFIG_DIR)
    return Path(text).expanduser() if text else None


def refuse_code(folder: Path) -> None:
    """Config files name no code: Hydra would call what a `_target_` or a logging configuration names.

    Allowed are our launchers and sweepers, Hydra's own, and classes of a plugin that the user names.

    Raises:
        ConfigError: a file that names other code, or that cannot be read; names the file, the key and the value.
    """
    import yaml

    trusted = (*_TRUSTED, *(f"{text}." for text in named() if not _is_file(text)))
    for path in sorted(path for path in folder.rglob("*.y*ml") if path.is_file()):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise ConfigError(f"{path} cannot be read ({' '.join(str(error).split())}). Correct it there.") from error
        for key, value in _code(content):
            if not str(value).startswith(trusted):
                raise ConfigError(
                    f"{path}: {key}={value} names code. A config file may name registered things only; give code of "
                    "your own with --plugin MODULE."
                )


def _code(node: object) -> Iterator[tuple[str, object]]:
    """(key, value) of all that Hydra or logging would import or call."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _CALLED or (isinstance(value, str) and value.startswith(("ext://", "pkg://"))):
                yield str(key), value
            yield from _code(value)
    elif isinstance(node, list):
        for item in node:
            yield from _code(item)


def named() -> list[str]:
    """The plugins of this process's environment."""
    return [text for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]


def words() -> list[str]:
    """The options that give a command what this process has from outside; paths are relative to the working folder."""

    def shown(text: str) -> str:
        path = Path(text)
        here = path.is_absolute() and path.is_relative_to(Path.cwd())
        return str(path.relative_to(Path.cwd())) if here else text

    folder = os.environ.get(CONFIG_DIR)
    options = ["--config-dir", shown(folder)] if folder else []
    return options + [word for text in named() for word in ("--plugin", shown(text))]


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
