"""Inputs of several tasks, each answered with its own task's prompt, many tasks in one batch (`repro predict`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ConfigError, DataError, print_line
from repro.inference.restore import (
    SHARED,
    Finished,
    adapter_of,
    backbone_of,
    method_of,
    refuse_others,
    refuse_tuned,
    task_of,
)
from repro.store.files import write_atomic
from repro.tasks.base import Example, Task
from repro.tasks.files import read_jsonl

if TYPE_CHECKING:
    import torch

    from repro.methods.base import Injection
    from repro.models.backbone import Backbone


@dataclass(frozen=True)
class Input:
    """One line of the file."""

    where: str
    """File and line."""
    trial: int
    """Index of the trial whose prompt answers it."""
    example: Example


@dataclass(frozen=True)
class Prompt:
    """A trial with its task and its restored prompt."""

    trial: Finished
    task: Task
    injection: Injection


def predict(trials: Sequence[Finished], file: Path, batch_size: int, device: torch.device) -> list[dict[str, object]]:
    """`{"task", "prediction"}` of every line, in order.

    Raises:
        ConfigError: prompts that cannot share a backbone or a batch.
        DataError: a line that names no task of a prompt, or lacks a field.
    """
    if not trials:
        raise ConfigError("--prompt is missing: name at least one finished trial by its run key.")
    refuse_others(trials, SHARED)
    refuse_tuned(trials)
    tasks = [task_of(trial) for trial in trials]
    _refuse_mixtures(tasks)
    lines = read_inputs(file, tasks)
    backbone = backbone_of(trials[0], device)
    prompts = [
        Prompt(trial, task, method_of(trial, backbone, task).injection(training=False))
        for trial, task in zip(trials, tasks, strict=True)
    ]
    answers: dict[int, object] = {}
    for group in groups(trials, tasks):
        in_group = [index for index, line in enumerate(lines) if line.trial in group]
        inputs = [lines[index] for index in in_group]
        answers |= zip(in_group, _answer(prompts, backbone, inputs, group, batch_size), strict=True)
    return [
        {"task": tasks[line.trial].name, "prediction": in_words(answers[index], tasks[line.trial])}
        for index, line in enumerate(lines)
    ]


def _refuse_mixtures(tasks: Sequence[Task]) -> None:
    for task in tasks:
        if task.parts:
            raise ConfigError(
                f"--prompt: {task.name} is a mixture of {', '.join(task.parts)}, and a line names one task. Tune its "
                "prompt on each (method.start_from), and give those."
            )


def groups(trials: Sequence[Finished], tasks: Sequence[Task]) -> list[list[int]]:
    """Trials whose rows can share a batch: one format, and one way of decoding where they generate."""
    grouped: dict[tuple[str, str | None, str | None], list[int]] = {}
    for index, (trial, task) in enumerate(zip(trials, tasks, strict=True)):
        alone = task.name if task.format in ("cloze", "span") else None
        decoding = repr(replace(trial.config.task.decoding, batch_size=1)) if task.format == "text_to_text" else None
        grouped.setdefault((task.format, alone, decoding), []).append(index)
    return list(grouped.values())


def _answer(
    prompts: Sequence[Prompt], backbone: Backbone, lines: Sequence[Input], group: Sequence[int], batch_size: int
) -> list[object]:
    """Parsed answers of one group's lines.

    Raises:
        ConfigError: prompts that cannot share a batch.
    """
    from repro.evaluation.decoding import decoded
    from repro.methods.parts.joining import joined

    try:
        injection = joined([prompts[index].injection for index in group])
    except ValueError as error:
        names = ", ".join(prompts[index].trial.name for index in group)
        raise ConfigError(f"{names} cannot share a batch: {error}. Predict with them one after the other.") from error
    adapters = {index: adapter_of(prompts[index].trial, backbone, prompts[index].task) for index in group}
    encoded = [adapters[line.trial].encode(prompts[line.trial].task.render(line.example), False) for line in lines]
    rows = [group.index(line.trial) for line in lines]
    first = prompts[group[0]]
    decoding = asdict(first.trial.config.task.decoding)
    for line, items in zip(lines, encoded, strict=True):
        if any(item.truncated for item in items):
            _note_cut(line, prompts[line.trial])
    outputs = decoded(adapters[group[0]], encoded, first.task.format, injection, decoding, batch_size, rows)
    return [prompts[line.trial].task.parse(output, line.example) for line, output in zip(lines, outputs, strict=True)]


def _note_cut(line: Input, prompt: Prompt) -> None:
    """Say that part of an input is not read; windows of a `span` overlap instead.

    Raises:
        DataError: words that would have no tag.
    """
    longest = prompt.trial.config.task.max_input_length
    problem = (
        f"{line.where}: the input is longer than the {longest} tokens that this prompt was trained with "
        "(task.max_input_length)"
    )
    if prompt.task.format == "tagging":
        raise DataError(f"{problem}, so its last words would have no tag. Split it into several lines.")
    if prompt.task.format != "span":
        print_line(f"repro: {problem}: the rest of it is not read", sys.stderr)


def in_words(answer: object, task: Task) -> object:
    """A class id as its name (null where the text was no class); anything else as it is."""
    if isinstance(answer, int) and task.labels:
        return task.labels[answer] if answer >= 0 else None
    return answer


def read_inputs(file: Path, tasks: Sequence[Task]) -> list[Input]:
    """Lines `{"task": NAME, FIELD: VALUE, ...}` with the fields of the task's own files, without a label.

    Raises:
        DataError: with file and line.
    """
    by_name: dict[str, int] = {}
    for index, task in enumerate(tasks):
        if task.name in by_name:
            raise ConfigError(
                f"--prompt: two of them are trained on {task.name}, so a line of that task could take either. Give one."
            )
        by_name[task.name] = index
    inputs = []
    for where, row in read_jsonl(file):
        name = row.get("task")
        if not isinstance(name, str) or name not in by_name:
            raise DataError(f"{where}: task is {name!r}; the prompts given are of {', '.join(by_name)}. Correct it.")
        inputs.append(Input(where, by_name[name], example_of(row, tasks[by_name[name]], where)))
    if not inputs:
        raise DataError(f'{file}: no inputs in it. Write one json object a line, such as {{"task": ...}}.')
    return inputs


def example_of(row: Mapping[str, object], task: Task, where: str) -> Example:
    """An unlabelled example of a row.

    Raises:
        DataError: a field of the task that the row lacks, or that is no text (or list of words).
    """
    fields: dict[str, object] = {}
    for name in task.inputs:
        value = row.get(name)
        if task.format == "tagging":
            if not (isinstance(value, list) and value and all(isinstance(w, str) and w.strip() for w in value)):
                raise DataError(f"{where}: {name} is {value!r}: a list of words is needed for {task.name}.")
            fields[name] = tuple(value)
        elif isinstance(value, str) and (value.strip() or task.format != "span"):
            fields[name] = value
        else:
            raise DataError(f"{where}: {name} is {value!r}: a text is needed for {task.name}.")
    fields |= task.hidden
    return Example(where, fields, task.blank(fields))


def write(answers: Sequence[Mapping[str, object]], out: Path | None) -> str:
    """Answers as json lines, into a file or as the text to print."""
    text = "\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)
    if out is None:
        return text
    write_atomic(out, text + "\n")
    return f"wrote {len(answers)} predictions to {out}"
