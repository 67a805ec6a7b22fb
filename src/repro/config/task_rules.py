"""The format in which a model sees a task, and what a task's config must satisfy; part of `repro.config.rules`."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from repro.config.schema import TaskConfig
from repro.errors import ConfigError

Plain = Mapping[str, Any]


def refuse(key: str, value: Any, allowed: str, fix: str) -> None:
    """Raises ConfigError: the key with its value, what is allowed, and the fix."""
    raise ConfigError(f"{key}={value}: {allowed}. {fix}")


def format_of(plain: Plain) -> str:
    """The format in which this model sees this task.

    Raises:
        ConfigError: there is none (a tagging task on a model that generates, a generation task on an encoder).
    """
    task, model = plain["task"], plain["model"]
    encoder = model["kind"] == "encoder"
    alone = task["formats"] == ["cloze"]
    if encoder and (alone or task["format"] == "cloze" or plain["method"].get("head") == "verbaliser"):
        return _cloze(plain)
    if alone:
        raise ConfigError(
            f"task={task['name']} with model={model['name']} ({model['kind']}): the gap is filled by the masked "
            "language-model head of an encoder; the template of the paper's GPT rows, with the object at the end, is "
            "not built. Choose model=bert-base-cased, bert-large-cased or roberta-large."
        )
    possible = [format for format in task["formats"] if (format != "text_to_text") == encoder]
    if task["format"] != "auto":
        if task["format"] not in task["formats"]:
            refuse(
                "task.format",
                task["format"],
                f"{task['name']} can be rendered as {', '.join(task['formats'])}",
                "Set task.format=auto.",
            )
        if possible and task["format"] not in possible:
            refuse(
                "task.format",
                task["format"],
                f"{model['name']} ({model['kind']}) takes {', '.join(possible)}",
                "Set task.format=auto, or choose another model.",
            )
        possible = [format for format in possible if format == task["format"]]
    if possible:
        return str(possible[0])
    if encoder:
        raise ConfigError(
            f"task={task['name']} with model={model['name']}: this task is generated as text and {model['name']} is "
            "encoder-only, it cannot generate. Choose a model that generates (model=gpt2-medium, "
            "model=t5-base-lm-adapt), or a task with a head format (pair, choice, tagging, span), such as task=rte."
        )
    raise ConfigError(
        f"task={task['name']} with model={model['name']}: this task needs an output for every token and "
        f"{model['name']} ({model['kind']}) has none, it generates text. Choose an encoder (model=bert-large-cased, "
        "model=minilm), or a task with a text_to_text format, such as task=rte."
    )


def _cloze(plain: Plain) -> str:
    """The format `cloze`, chosen by `method.head=verbaliser`."""
    task, method = plain["task"], plain["method"]
    if method.get("head") != "verbaliser":
        fix = "Set method.head=verbaliser." if "head" in method else "Choose another method, or task.format=auto."
        refuse("task.format", "cloze", f"{method['name']} would train a linear head, which a cloze has not", fix)
    if not task.get("cloze") or task["format"] not in ("auto", "cloze"):
        refuse(
            "method.head",
            "verbaliser",
            f"{task['name']} has no cloze template (task.cloze, task.verbaliser)"
            if not task.get("cloze")
            else "the format is " + task["format"],
            "Set method.head=linear, or choose a task with one, such as task=rte with task.format=auto.",
        )
    missing = [label for label in task["labels"] if label not in task["verbaliser"]]
    if missing:
        refuse("task.verbaliser", task["verbaliser"], f"no word for the class {missing[0]}", "Give one for each.")
    rows = sum(int(n) for piece in task["cloze"] for n in re.findall(r"^\[P:(\d+)\]$", piece))
    if method.get("placement") == "template" and rows != method["length"]:
        refuse(
            "method.length",
            method["length"],
            f"the cloze template of {task['name']} has places for {rows} prompt rows",
            f"Set method.length={rows}, or change task.cloze.",
        )
    return "cloze"


_FREE_TEXT = ("repro.tasks.wsc.Wsc",)
"""Tasks with classes whose text answers are no class names."""


def _check_label_scoring(plain: Plain) -> None:
    """`task.decoding.labels=score` needs targets that are the task's labels, and one sequence without gaps."""
    task, method = plain["task"], plain["method"]
    if task["decoding"].get("labels") != "score":
        return
    why = None
    if format_of(plain) != "text_to_text":
        why = f"{plain['model']['name']} answers by a head, it generates nothing"
    elif task.get("parts"):
        why = "the tasks of a mixture have labels of their own"
    elif not task["labels"] or task["_target_"] in _FREE_TEXT:
        why = f"the targets of {task['name']} as text are no labels"
    elif method["name"] == "infix_tuning":
        why = "an infix changes what stands behind it, label by label"
    if why:
        refuse("task.decoding.labels", "score", why, "Set task.decoding.labels=generate.")


def check_words(plain: Plain) -> None:
    """Switches that put words around a text, how a label is decoded, and the method that is nothing but words."""
    task, trainer, method = plain["task"], plain["trainer"], plain["method"]
    _check_label_scoring(plain)
    for switch in ("sentinel", "task_name_prefix"):
        if task.get(switch) and format_of(plain) != "text_to_text":
            refuse(f"task.{switch}", True, "only models that generate read and write it", f"Set task.{switch}=false.")
    if task.get("sentinel") and plain["model"]["family"] != "t5":
        refuse("task.sentinel", True, f"{plain['model']['name']} has no sentinels, T5 has", "Set task.sentinel=false.")
    if method["name"] == "prompt_design":
        if format_of(plain) != "text_to_text":
            raise ConfigError(
                f"method=prompt_design with model={plain['model']['name']}: words can only ask a model that generates. "
                "Choose model=t5-base-lm-adapt or model=gpt2-medium, or another method."
            )
        if trainer["steps"] != 0:
            refuse(
                "trainer.steps",
                trainer["steps"],
                "prompt_design trains nothing",
                "Set trainer.epochs=null trainer.steps=0.",
            )
    if not task["metrics"] and not task.get("parts") and trainer["selection"]["metric"] not in (None, "loss"):
        refuse(
            "trainer.selection.metric",
            trainer["selection"]["metric"],
            f"{task['name']} is scored by its loss alone",
            "Set trainer.selection.metric=loss.",
        )


@cache
def keys_of(schema: type) -> Mapping[str, Any]:
    """The keys of a schema's class and their types; a plan asks some ten times a trial."""
    hints = typing.get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema)}


def check_parts(plain: Plain) -> None:
    """The tasks of a mixture: keys that a task has, and the mixture's format among their formats."""
    task = plain["task"]
    cut = {"low_data.size": (task.get("low_data") or {}).get("size"), "fraction": task.get("fraction")}
    for setting, value in cut.items():
        if task["parts"] and value is not None:
            refuse(
                f"task.{setting}", value, f"{task['name']} is a mixture: its parts are read whole", "Set it to null."
            )
    known = keys_of(TaskConfig)
    for name, part in task["parts"].items():
        if not isinstance(part, Mapping) or "_target_" not in part:
            refuse(f"task.parts.{name}", part, "must be a whole task", "Take a file of conf/task.")
        for key in part:
            if key not in known:
                refuse(f"task.parts.{name}.{key}", part[key], "a task has no such key", "Correct its name.")
        if format_of(plain) not in part["formats"]:
            refuse(
                f"task.parts.{name}",
                part["name"],
                f"it can be rendered as {', '.join(part['formats'])}, the mixture is {format_of(plain)}",
                "Leave it out, or choose another format.",
            )
        _check_part_options(plain, name, part)


def _check_part_options(plain: Plain, name: str, part: Plain) -> None:
    """Windows of several data sets are cut and read in one way: a part may not ask for another."""
    for key in ("stride", "n_best", "max_answer_tokens") if format_of(plain) == "span" else ():
        mixed, own = (config["options"].get(key) for config in (plain["task"], part))
        if mixed != own:
            refuse(
                f"task.options.{key}",
                mixed,
                f"{name} has {own}, and the parts of a mixture share it",
                f"Set task.options.{key}={own}, and the same in every part.",
            )


def check_sources(plain: Plain) -> None:
    task = plain["task"]
    for key, config in [(f"task.parts.{name}.hub_id", part) for name, part in task["parts"].items()] or [
        ("task.hub_id", task)
    ]:
        if task["source"] == "hub" and not config.get("hub_id"):
            refuse("task.source", "hub", f"{config['name']} has no hub id", f"Set task.source=local, or {key}=<id>.")
