"""Tasks for tests, from keywords: fields of `TaskSection`, with `options` as `task.options` has them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from repro.config.conversion import from_plain
from repro.config.task_files import typed_task
from repro.config.task_schema import LowData, SplitLimits, TaskConfig
from repro.tasks.base import Task, TaskSection
from repro.tasks.registry import make_task, task_in_format


def make(kind: type[Task], *, options: Mapping[str, Any] | None = None, **section: Any) -> Any:
    """A task of a kind; `limit` and `low_data` may be plain."""
    for key, group in (("limit", SplitLimits), ("low_data", LowData)):
        if isinstance(section.get(key), Mapping):
            section[key] = group(**section[key])
    return make_task(kind, TaskSection(**section), options or {})


def config(name: str, data_root: Path | str = "data", **changes: Any) -> Any:
    """A task's config as composed: the schema, the file, then the changes."""
    return OmegaConf.merge(OmegaConf.structured(typed_task(name, str(data_root))), changes)


def from_conf(name: str, format: str | None = None, data_root: Path | str = "data", **changes: Any) -> Any:
    """The task of a file of conf/task, in its first format where none is given."""
    made = from_plain(TaskConfig, OmegaConf.to_container(config(name, data_root, **changes)), {}, "task.")
    return task_in_format(made, format or made.formats[0])
