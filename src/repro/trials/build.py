"""Config to objects: the task in the format that fits the model, and the method without its tensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from repro.config.rules import format_of
from repro.config.schema import TrialConfig
from repro.methods.base import Method
from repro.tasks.wording import worded

Plain = dict[str, Any]


def build_method(config: TrialConfig) -> Method:
    """The method, not yet built: its tensors come when the model is there."""
    return config.method.build(config.task.init_words)


def build_task(config: TrialConfig | Mapping[str, Any]) -> Any:
    """The task in the format that fits the model; reads nothing yet."""
    if not isinstance(config, TrialConfig):  # bridge: callers that still hold nested dicts
        config = TrialConfig.from_dict(config)
    return _built(config.to_dict(), format_of(config))


def _built(plain: Plain, format: str) -> Any:
    if plain["task"]["parts"]:
        return _of_parts(plain, format)
    # A classification task in the words of a cloze is read as a pair.
    inner = "pair" if format == "cloze" and "pair" in plain["task"]["formats"] else format
    return worded(task_in_format(plain["task"], inner), plain, format)


def task_in_format(task: Plain, format: str) -> Any:
    """The task of a config of conf/task in one of its formats, whatever the model; reads nothing yet."""
    metrics = [*task["metrics"], *(task.get("also_metrics") or ())]
    _, accepted = _class_of(task)
    config = {**task, "format": format, "metrics": metrics}
    made = _made({name: value for name, value in config.items() if name in accepted or name == "_target_"})
    for metric in made.metrics[len(task["metrics"]) :]:
        metric.beside = True  # no part of the task's score
    return made


def _of_parts(plain: Plain, format: str) -> Any:
    """A task of tasks (a mixture, a transfer): every part as it would be alone, but in the whole's format, with its
    switches, source and limits."""
    config = plain["task"]
    whole, accepted = _class_of(config)
    limit_of = getattr(whole, "part_limit", lambda name, options, limit: limit)
    switches = {name: config[name] for name in ("sentinel", "task_name_prefix", "source", "check_rows")}
    parts = {}
    for name, part in config["parts"].items():
        limit = part["limit"]
        if not any(limit[split] for split in ("train", "validation", "test")):  # it has none of its own
            limit = limit_of(name, config["options"], config["limit"])
        parts[name] = _built({**plain, "task": {**part, **switches, "limit": limit, "format": format}}, format)
    given = {"name": config["name"], "format": format, "parts": parts, "options": config["options"]}
    if "metrics" in accepted:
        given["metrics"] = [_made(metric) for metric in config["metrics"]]
    return whole(**given)


def _class_of(config: Plain) -> tuple[Any, Sequence[str]]:
    """The class of a task, and the arguments it takes."""
    from hydra.utils import get_class

    found = get_class(config["_target_"])
    return found, list(inspect.signature(found.__init__).parameters)  # type: ignore[misc]


def _made(config: Plain) -> Any:
    """What `_target_` names. A ReproError of its constructor comes out as it is, not wrapped in one of Hydra's."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    from repro.config.compose import explain

    try:
        return instantiate(config, _convert_="all")
    except InstantiationException as error:
        raise explain(error) or error from error
