"""`repro predict`: inputs of several tasks, each answered with its own task's prompt, many tasks in one batch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config.schema import TrialConfig
from repro.errors import ConfigError, DataError
from repro.inference.restore import SHARED, Finished, backbone_of, method_of, refuse_others, refuse_tuned, task_of
from repro.tasks.base import Example
from repro.tasks.files import read_jsonl

DECODING = ("beams", "max_new_tokens", "min_new_tokens", "length_penalty", "bad_words")
"""Settings that rows of one batch share."""


@dataclass(frozen=True)
class Input:
    """One line of the file: which prompt answers it, and what it says."""

    where: str
    trial: int
    example: Example


def predict(trials: Sequence[Finished], file: Path, batch_size: int, device: Any) -> list[dict[str, Any]]:
    """`{"task", "prediction"}` of every line, in order.

    Raises:
        ConfigError: prompts that cannot share a backbone or a batch.
        DataError: a line that names no task of a prompt, or lacks a field.
    """
    from repro.methods.parts.joining import joined

    if not trials:
        raise ConfigError("--prompt is missing: name at least one finished trial by its run key.")
    refuse_others(trials, SHARED)
    refuse_tuned(trials)
    tasks = [task_of(trial) for trial in trials]
    for task in tasks:
        if task.parts:
            raise ConfigError(
                f"--prompt: {task.name} is a mixture of {', '.join(task.parts)}, and a line names one task. Tune its "
                "prompt on each (method.start_from), and give those."
            )
    lines = read_inputs(file, tasks)
    backbone = backbone_of(trials[0], device)
    injections = [
        method_of(trial, backbone, task).injection(training=False) for trial, task in zip(trials, tasks, strict=True)
    ]
    answers: list[Any] = [None] * len(lines)
    for group in groups(trials, tasks):
        try:
            together = joined([injections[trial] for trial in group])
        except ValueError as error:
            names = ", ".join(trials[trial].name for trial in group)
            raise ConfigError(
                f"{names} cannot share a batch: {error}. Predict with them one after the other."
            ) from error
        own = [index for index, line in enumerate(lines) if line.trial in group]
        said = _answer(trials, tasks, backbone, together, [lines[index] for index in own], group, batch_size)
        for index, answer in zip(own, said, strict=True):
            answers[index] = answer
    return [
        {"task": tasks[line.trial].name, "prediction": in_words(answer, tasks[line.trial])}
        for line, answer in zip(lines, answers, strict=True)
    ]


def groups(trials: Sequence[Finished], tasks: Sequence[Any]) -> list[list[int]]:
    """Trials whose rows can share a batch: one format, and one way of decoding where they generate."""
    found: dict[str, list[int]] = {}
    for index, (trial, task) in enumerate(zip(trials, tasks, strict=True)):
        decoding = [trial.plain["task"]["decoding"][name] for name in DECODING]
        alone = task.name if task.format in ("cloze", "span") else None
        key = json.dumps([task.format, alone, decoding if task.format == "text_to_text" else None])
        found.setdefault(key, []).append(index)
    return list(found.values())


def _answer(
    trials: Sequence[Finished],
    tasks: Sequence[Any],
    backbone: Any,
    injection: Any,
    lines: Sequence[Input],
    group: Sequence[int],
    batch_size: int,
) -> list[Any]:
    """Parsed answers of one group's lines."""
    from repro.evaluation.decoding import decoded
    from repro.trials.prepared import adapted

    format = tasks[group[0]].format
    adapters = {
        trial: adapted(backbone, tasks[trial], TrialConfig.from_dict(trials[trial].plain).task) for trial in group
    }
    encoded = [adapters[line.trial].encode(tasks[line.trial].render(line.example), False) for line in lines]
    rows = [group.index(line.trial) for line in lines]
    decoding = trials[group[0]].plain["task"]["decoding"]
    said = decoded(adapters[group[0]], encoded, format, injection, decoding, batch_size, rows)
    return [tasks[line.trial].parse(output, line.example) for line, output in zip(lines, said, strict=True)]


def in_words(answer: Any, task: Any) -> Any:
    """A class id as its name (null where the text was no class); anything else as it is."""
    if isinstance(answer, int) and task.labels:
        return task.labels[answer] if answer >= 0 else None
    return answer


def read_inputs(file: Path, tasks: Sequence[Any]) -> list[Input]:
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
    found = []
    for where, row in read_jsonl(file):
        name = row.get("task")
        if name not in by_name:
            raise DataError(f"{where}: task is {name!r}; the prompts given are of {', '.join(by_name)}. Correct it.")
        found.append(Input(where, by_name[name], example_of(row, tasks[by_name[name]], where)))
    if not found:
        raise DataError(f'{file}: no inputs in it. Write one json object a line, such as {{"task": ...}}.')
    return found


def example_of(row: Mapping[str, Any], task: Any, where: str) -> Example:
    """An unlabelled example of a row.

    Raises:
        DataError: a field of the task that the row lacks, or that is no text (or list of words).
    """
    fields: dict[str, Any] = {}
    for name in task.inputs:
        value = row.get(name)
        wanted = "a list of words" if task.format == "tagging" else "a text"
        good = bool(value) and all(isinstance(word, str) and word.strip() for word in value or ())
        if task.format == "tagging" and not (isinstance(value, list) and good):
            raise DataError(f"{where}: {name} is {value!r}: {wanted} is needed for {task.name}.")
        if task.format != "tagging" and not isinstance(value, str):
            raise DataError(f"{where}: {name} is {value!r}: {wanted} is needed for {task.name}.")
        fields[name] = tuple(value) if isinstance(value, list) else value
    fields |= task.hidden
    return Example(where, fields, task.blank(fields))


def write(answers: Sequence[Mapping[str, Any]], out: Path | None) -> str:
    """Answers as json lines, into a file or as the text to print."""
    text = "\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)
    if out is None:
        return text
    from repro.store.files import write_atomic

    write_atomic(out, text + "\n")
    return f"wrote {len(answers)} predictions to {out}"
