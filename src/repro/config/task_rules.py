"""The format in which a model sees a task, and what a task's config must satisfy; part of `repro.config.rules`."""

from __future__ import annotations

import re
from typing import NoReturn

from repro.config.schema import TaskConfig, TrialConfig
from repro.errors import ConfigError
from repro.methods.facts import FamilyFacts
from repro.methods.schema import MethodConfig


def refuse(key: str, value: object, allowed: str, fix: str) -> NoReturn:
    """Raises ConfigError: the key with its value, what is allowed, and the fix."""
    raise ConfigError(f"{key}={value}: {allowed}. {fix}")


def method_value(method: MethodConfig, name: str) -> object:
    """The value of a setting that not every method has; None where this one has no such setting."""
    return vars(method).get(name)


def format_of(config: TrialConfig) -> str:
    """The format in which this model sees this task.

    Raises:
        ConfigError: there is none (a tagging task on a model that generates, a generation task on an encoder).
    """
    task, model = config.task, config.model
    encoder = model.kind == "encoder"
    alone = task.formats == ["cloze"]
    if encoder and (alone or task.format == "cloze" or method_value(config.method, "head") == "verbaliser"):
        return _cloze(config)
    if alone:
        raise ConfigError(
            f"task={task.name} with model={model.name} ({model.kind}): the gap is filled by the masked "
            "language-model head of an encoder; the template of the paper's GPT rows, with the object at the end, is "
            "not built. Choose model=bert-base-cased, bert-large-cased or roberta-large."
        )
    possible = [format for format in task.formats if (format != "text_to_text") == encoder]
    if task.format != "auto":
        if task.format not in task.formats:
            refuse(
                "task.format",
                task.format,
                f"{task.name} can be rendered as {', '.join(task.formats)}",
                "Set task.format=auto.",
            )
        if possible and task.format not in possible:
            refuse(
                "task.format",
                task.format,
                f"{model.name} ({model.kind}) takes {', '.join(possible)}",
                "Set task.format=auto, or choose another model.",
            )
        possible = [format for format in possible if format == task.format]
    if possible:
        return str(possible[0])
    if encoder:
        raise ConfigError(
            f"task={task.name} with model={model.name}: this task is generated as text and {model.name} is "
            "encoder-only, it cannot generate. Choose a model that generates (model=gpt2-medium, "
            "model=t5-base-lm-adapt), or a task with a head format (pair, choice, tagging, span), such as task=rte."
        )
    raise ConfigError(
        f"task={task.name} with model={model.name}: this task needs an output for every token and "
        f"{model.name} ({model.kind}) has none, it generates text. Choose an encoder (model=bert-large-cased, "
        "model=minilm), or a task with a text_to_text format, such as task=rte."
    )


def _cloze(config: TrialConfig) -> str:
    """The format `cloze`, chosen by `method.head=verbaliser`."""
    task, method = config.task, config.method
    if method_value(method, "head") != "verbaliser":
        fix = (
            "Set method.head=verbaliser."
            if method_value(method, "head") is not None
            else "Choose another method, or task.format=auto."
        )
        refuse("task.format", "cloze", f"{method.name} would train a linear head, which a cloze has not", fix)
    if not task.cloze or task.format not in ("auto", "cloze"):
        refuse(
            "method.head",
            "verbaliser",
            f"{task.name} has no cloze template (task.cloze, task.verbaliser)"
            if not task.cloze
            else "the format is " + task.format,
            "Set method.head=linear, or choose a task with one, such as task=rte with task.format=auto.",
        )
    missing = [label for label in task.labels if label not in task.verbaliser]
    if missing:
        refuse("task.verbaliser", task.verbaliser, f"no word for the class {missing[0]}", "Give one for each.")
    rows = sum(int(n) for piece in task.cloze for n in re.findall(r"^\[P:(\d+)\]$", piece))
    if method_value(method, "placement") == "template" and rows != method_value(method, "length"):
        refuse(
            "method.length",
            method_value(method, "length"),
            f"the cloze template of {task.name} has positions for {rows} prompt rows",
            f"Set method.length={rows}, or change task.cloze.",
        )
    return "cloze"


def _check_label_scoring(config: TrialConfig) -> None:
    """`task.decoding.labels=score` needs targets that are the task's labels, and one sequence without gaps."""
    task, method = config.task, config.method
    if task.decoding.labels != "score":
        return
    why: str | None
    if format_of(config) != "text_to_text":
        why = f"{config.model.name} answers by a head, it generates nothing"
    elif task.parts:
        why = "the tasks of a mixture have labels of their own"
    elif not task.labels:
        why = f"the targets of {task.name} as text are no labels"
    else:
        why = method.capabilities.no_label_scoring
    if why:
        refuse("task.decoding.labels", "score", why, "Set task.decoding.labels=generate.")


def _check_decoding(config: TrialConfig) -> None:
    """Settings of the official codes that only some models can follow."""
    task, model = config.task, config.model
    scored, decoding = task.max_evaluation_input_length, task.decoding
    if scored is not None and model.kind == "encoder":
        why = f"{model.name} is an encoder, whose inputs have one length in training and evaluation"
        refuse("task.max_evaluation_input_length", scored, why, "Set it to null.")
    if scored == 0 and model.max_positions is not None:
        why = f"{model.name} has {model.max_positions} positions, so an input may have to be cut"
        refuse("task.max_evaluation_input_length", 0, why, "Give a number of tokens, or null.")
    if decoding.length_rule == "longest_target" and model.kind != "encoder_decoder":
        why = "only encoder-decoders have targets of their own length"
        refuse("task.decoding.length_rule", "longest_target", why, "Set task.decoding.length_rule=max_new_tokens.")
    if decoding.search == "t5x" and decoding.beams > 1:
        why = "T5X's search is built for one beam"
        refuse("task.decoding.search", "t5x", why, "Set task.decoding.beams=1, or task.decoding.search=library.")
    if decoding.length_counts == "all" and model.kind != "decoder":
        why = f"the input of {model.name} is not part of what its decoder writes"
        refuse("task.decoding.length_counts", "all", why, "Set task.decoding.length_counts=generated.")


def check_words(config: TrialConfig, family: FamilyFacts) -> None:
    """Switches that put words around a text, how it is decoded, and what a task without metrics is chosen by."""
    task, trainer = config.task, config.trainer
    _check_label_scoring(config)
    _check_decoding(config)
    for switch, is_on in {"sentinel": task.sentinel, "task_name_prefix": task.task_name_prefix}.items():
        if is_on and format_of(config) != "text_to_text":
            refuse(f"task.{switch}", True, "only models that generate read and write it", f"Set task.{switch}=false.")
    if task.sentinel and not family.sentinels:
        refuse("task.sentinel", True, f"{config.model.name} has no sentinels, T5 has", "Set task.sentinel=false.")
    if not task.metrics and not task.parts and trainer.selection.metric not in (None, "loss"):
        refuse(
            "trainer.selection.metric",
            trainer.selection.metric,
            f"{task.name} is scored by its loss alone",
            "Set trainer.selection.metric=loss.",
        )


def check_parts(config: TrialConfig) -> None:
    """The tasks of a mixture: the mixture's format must be among those of each part."""
    task = config.task
    for setting, value in {"low_data.size": task.low_data.size, "fraction": task.fraction}.items():
        if task.parts and value is not None:
            refuse(f"task.{setting}", value, f"{task.name} is a mixture: its parts are read whole", "Set it to null.")
    for name, part in task.parts.items():
        if format_of(config) not in part.formats:
            refuse(
                f"task.parts.{name}",
                part.name,
                f"it can be rendered as {', '.join(part.formats)}, the mixture is {format_of(config)}",
                "Leave it out, or choose another format.",
            )
        _check_part_options(config, name, part)


def _check_part_options(config: TrialConfig, name: str, part: TaskConfig) -> None:
    """Windows of several data sets are cut and read in one way: a part may not ask for another."""
    for key in ("stride", "n_best", "max_answer_tokens") if format_of(config) == "span" else ():
        mixed, part_value = config.task.options.get(key), part.options.get(key)
        if mixed != part_value:
            refuse(
                f"task.options.{key}",
                mixed,
                f"{name} has {part_value}, and the parts of a mixture share it",
                f"Set task.options.{key}={part_value}, and the same in every part.",
            )


def check_sources(config: TrialConfig) -> None:
    """Data from the hub need a hub id."""
    task = config.task
    tasks = {f"task.parts.{name}.hub_id": part for name, part in task.parts.items()} or {"task.hub_id": task}
    for key, source in tasks.items() if task.source == "hub" else ():
        if not source.hub_id:
            refuse("task.source", "hub", f"{source.name} has no hub id", f"Set task.source=local, or {key}=<id>.")
