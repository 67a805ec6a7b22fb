"""What the yaml files of a user's config folder may not say: nothing that is read there may run code.

Hydra instantiates `_target_`, sets up logging (whose configs name classes too) and extends its search path by what it
composes. Files of a config folder may set the launcher's and the sweeper's values and choose among ours; everything
else of Hydra is for the command line. A launcher of one's own comes from a module named with `--plugin`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from repro.errors import ConfigError
from repro.registry import plugin_names

OURS = frozenset(
    f"hydra_plugins.{name}"
    for name in (
        "repro_joint.JointLauncher",
        "repro_optuna.OptunaSweeper",
        "repro_slurm.SlurmLauncher",
        "repro_sweeps.GridSweeper",
    )
)
"""What `_target_` may name, beside classes of plugins: the same as in our `conf/hydra`."""
_NODES = ("launcher", "sweeper")
_SITE = frozenset({"setup", "python", "site", "extra"})
"""The launcher's values that become shell lines or options of `sbatch`."""
_RESOLVERS = frozenset({"oc.env", "oc.select", "run_key", "sweep_folder", "user_path", "hydra", "now"})
_RESOLVER = re.compile(r"\$\{\s*([^:{}$]*)(:|\$\{)")
_HYDRA_KEY = re.compile(r"[+~]*hydra(?:$|[./@])")
_PACKAGE = re.compile(r"^\s*#\s*@package\s+(\S+)", re.MULTILINE)


def check_folder(folder: Path) -> None:
    """Refuse a config folder with a file that could run code.

    Raises:
        ConfigError: names the file, the key and what is allowed.
    """
    for path in _files(folder):
        _check_file(path, path.relative_to(folder).parts)


def _files(folder: Path) -> Iterator[Path]:
    """Every yaml file that Hydra could read, behind links too."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place) / name for name in sorted(files) if name.endswith(".yaml"))


def _check_file(path: Path, parts: tuple[str, ...]) -> None:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be read: it is not YAML ({' '.join(str(error).split())}). Correct it."
        ) from error
    package = _PACKAGE.search(text)
    if package and _HYDRA_KEY.match(package[1]):
        _refuse(path, f"@package {package[1]}", "a file may not be placed below hydra")
    at: tuple[str, ...] = ()
    if parts[0] == "hydra":
        if len(parts) < 3 or parts[1] not in _NODES:
            _refuse(path, "a file of hydra", "of Hydra's groups only hydra/launcher and hydra/sweeper may have files")
        at = ("hydra", parts[1])
    _check(path, content, at)


def _check(path: Path, node: object, at: tuple[str, ...]) -> None:
    if isinstance(node, Mapping):
        for name, value in node.items():
            _check_key(path, str(name), value, at)
            _check(path, value, (*at, str(name)))
    elif isinstance(node, list):
        for value in node:
            _check(path, value, (*at, "[]"))
    elif isinstance(node, str):
        if at[-2:] == ("defaults", "[]"):
            _check_default(path, node, f"defaults: {node}")
        for match in _RESOLVER.finditer(node):
            if match[2] != ":" or match[1].strip() not in _RESOLVERS:
                _refuse(
                    path, f"{'.'.join(at)}={node}", f"resolvers that may be used are {', '.join(sorted(_RESOLVERS))}"
                )


def _check_key(path: Path, name: str, value: object, at: tuple[str, ...]) -> None:
    where = ".".join((*at, name))
    if name == "_target_":
        known = isinstance(value, str) and (value in OURS or value.partition(".")[0] in _plugin_roots())
        if not known or at not in {("hydra", node) for node in _NODES}:
            _refuse(path, f"{where}={value}", f"a launcher or sweeper may be one of {', '.join(sorted(OURS))}")
    elif name in ("()", "_args_"):
        _refuse(path, where, "keys that construct something may not be used")
    elif at == ("hydra",) and name not in _NODES:
        _refuse(path, where, "of Hydra's values only hydra.launcher and hydra.sweeper may be set")
    elif at == ("hydra", "launcher") and name in _SITE:
        _refuse(path, where, "a site's shell lines and options belong into ~/.config/repro/slurm.yaml")
    elif at[-2:] == ("defaults", "[]"):
        _check_default(path, name, where)
    elif name != "hydra" and _HYDRA_KEY.match(name):
        _refuse(path, where, "a sweep may not set Hydra's values")


def _check_default(path: Path, name: str, where: str) -> None:
    """An entry of a defaults list: `override /hydra/sweeper: grids`."""
    group, _, package = name.split()[-1].partition("@")
    group = group.strip("/")
    allowed = {f"hydra/{node}" for node in _NODES}
    if _HYDRA_KEY.match(package) or (_HYDRA_KEY.match(group) and group not in allowed):
        _refuse(path, where, f"of Hydra's groups only {' and '.join(sorted(allowed))} may be chosen")


def _plugin_roots() -> set[str]:
    return {text.partition(".")[0] for text in plugin_names() if not text.endswith(".py") and os.sep not in text}


def _refuse(path: Path, what: str, allowed: str) -> None:
    raise ConfigError(
        f"{path}: {what} names code, or where it is read from: {allowed}. Remove it, name the module with --plugin, or "
        "give the value on the command line."
    )
