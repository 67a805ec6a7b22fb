"""Every file of conf/task as a typed config, without Hydra's composition: all of them in a second.

`repro doctor` and the page of tasks look at all tasks at once. What they see is what `repro run task=NAME` composes
without a recipe (a test compares).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from repro.config.compose import config_file, options
from repro.config.conversion import from_plain
from repro.config.task_schema import TaskConfig
from repro.errors import ConfigError


def task_names() -> list[str]:
    """Names of the files of conf/task."""
    return options("task")


def require_task(name: str) -> str:
    """The name.

    Raises:
        ConfigError: conf/task has no such file.
    """
    if name not in task_names():
        raise ConfigError(f"task={name}: there is no such file; allowed are {', '.join(task_names())}.")
    return name


@cache
def _raw(name: str) -> Any:
    """The file over the schema, parts of a mixture filled in."""
    from omegaconf import OmegaConf

    own: Any = OmegaConf.load(config_file("task", name))
    parts: dict[str, Any] = {}
    for entry in own.pop("defaults", []):
        if entry == "_self_":
            continue
        ((place, part),) = entry.items()
        if not str(place).startswith("/task@parts."):
            raise ConfigError(f"conf/task/{name}.yaml: defaults of a task may only be its parts, not {place}.")
        parts[str(place).removeprefix("/task@parts.")] = OmegaConf.load(config_file("task", str(part)))
    return OmegaConf.merge(OmegaConf.structured(TaskConfig), {"parts": parts}, own)


def typed_task(name: str, data_root: str) -> TaskConfig:
    """The config of a task, interpolations resolved.

    Raises:
        ConfigError: no such task.
    """
    from omegaconf import OmegaConf

    node = OmegaConf.create({"paths": {"data_root": data_root}, "task": _raw(require_task(name))})
    plain: Any = OmegaConf.to_container(node, resolve=True)
    return from_plain(TaskConfig, plain["task"], {}, "task.")
