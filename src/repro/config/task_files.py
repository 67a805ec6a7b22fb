"""Every file of conf/task as a typed config, without Hydra's composition: all of them in a second.

`repro doctor` and the page of tasks look at all tasks at once. What they see is what `repro run task=NAME` composes
without a recipe (a test compares).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from repro.config.compose import config_file, options
from repro.config.conversion import from_plain
from repro.config.task_schema import TaskConfig
from repro.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


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
def _raw(name: str) -> DictConfig:
    """The file over the schema, parts of a mixture filled in."""
    from omegaconf import DictConfig, OmegaConf

    own = OmegaConf.load(config_file("task", name))
    parts: dict[str, object] = {}
    for entry in own.pop("defaults", []) if isinstance(own, DictConfig) else ():
        if entry == "_self_":
            continue
        ((place, part),) = entry.items()
        if not str(place).startswith("/task@parts."):
            raise ConfigError(f"conf/task/{name}.yaml: defaults of a task may only be its parts, not {place}.")
        parts[str(place).removeprefix("/task@parts.")] = OmegaConf.load(config_file("task", str(part)))
    merged = OmegaConf.merge(OmegaConf.structured(TaskConfig), {"parts": parts}, own)
    assert isinstance(merged, DictConfig)
    return merged


def typed_task(name: str, data_root: str) -> TaskConfig:
    """The config of a task, interpolations resolved.

    Raises:
        ConfigError: no such task.
    """
    from omegaconf import OmegaConf

    node = OmegaConf.create({"paths": {"data_root": data_root}, "task": _raw(require_task(name))})
    return from_plain(TaskConfig, OmegaConf.to_container(node.task, resolve=True), {}, "task.")
