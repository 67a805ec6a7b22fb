"""Rows and content hash of a task's splits, and the scores of a model that always says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from repro.config.task_files import parts_of, task_config, task_names
from repro.doctor.tasks import on_this_machine, task_splits
from repro.errors import ConfigError, DataError
from repro.tasks.base import Task
from repro.tasks.file_task import SHOWN_DIGITS
from repro.trials.build import task_in_format


def fingerprint(name: str, data_root: str) -> list[str]:
    """What a task's file says of rows and content, for the files as they are: lines of yaml.

    A split whose file is not there is left out. Every format must read the same rows.

    Raises:
        DataError: no split is there, or two formats count or hash otherwise.
    """
    lines = []
    for part in parts_of(task_config(name, data_root)).values():
        found = [_facts(part, format) for format in part["formats"]]
        if not found[0]:
            raise DataError(f"task={part['name']}: none of its files is under {data_root}. See `repro doctor`.")
        if any(other != found[0] for other in found):
            raise DataError(f"task={part['name']}: its formats {part['formats']} read different rows: {found}.")
        rows = ", ".join(f"{split}: {facts['rows']}" for split, facts in found[0].items())
        hashes = ", ".join(f'{split}: "{facts["sha256"][:SHOWN_DIGITS]}"' for split, facts in found[0].items())
        lines += [f"# {part['name']}", f"rows: {{{rows}}}", f"sha256: {{{hashes}}}"]
    return lines


def _facts(config: dict[str, Any], format: str) -> dict[str, dict[str, Any]]:
    task = task_in_format(on_this_machine(config) | {"check_rows": False}, format)
    for split in task_splits(task):
        try:
            task.examples(split)
        except DataError as error:
            if "does not exist" not in str(error) and "has no file" not in str(error):
                raise
    return dict(task.fingerprint())


def majority(name: str, data_root: str) -> list[str]:
    """A line a part and format: validation rows, what is always said, and what our metrics make of it.

    A class task says its most frequent class, a tagging task O for every word, a task with questions that may have no
    answer says that they have none.

    Raises:
        ConfigError: the answer is free text, so that there is no constant one.
    """
    lines = []
    for part in parts_of(task_config(name, data_root)).values():
        format = next((format for format in part["formats"] if format != "text_to_text"), part["formats"][0])
        task = task_in_format(on_this_machine(part), format)
        examples = [example for example in task.examples("validation") if example.references]
        answers = constant_answers(task, examples)
        if task.metrics[0].name == "accuracy":  # the majority class is best; an F1 may like a rarer class better
            answers = answers[:1]
        for said, constant in answers:
            values = scores(task, examples, constant)
            shown = ", ".join(f"{key} {value:.2f}" for key, value in values.items())
            lines.append(f"{part['name']} ({format}): {len(examples):,} validation rows, always {said}: {shown}")
    return lines


def every_majority(data_root: str) -> list[str]:
    """`majority` of every task that has one and whose validation split is there."""
    lines: list[str] = []
    configs = [task_config(name, data_root) for name in task_names()]
    # Of several tasks with one validation set, the one that is about it is named.
    for config in sorted(configs, key=lambda config: config["report_split"] != "validation"):
        name = config["name"]
        if config["parts"] or (not config["labels"] and not {"tagging", "span"} & set(config["formats"])):
            continue  # a mixture's parts have lines of their own; free text has no constant answer
        try:
            found = majority(name, data_root)
            known = [line.partition(": ")[2] for line in lines]  # several tasks may have one validation set
            lines += [line for line in found if line.partition(": ")[2] not in known]
        except DataError as error:
            lines.append(f"{name}: not here ({error})")
    return lines


def constant_answers(task: Task, examples: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """What models that have learnt nothing but frequencies say: in words, and to each example; the commonest first."""
    if task.format == "tagging":
        return [("O", [["O"] * len(example.fields["words"]) for example in examples])]
    if task.format == "span":
        return [("no answer", [""] * len(examples))]
    if not task.labels:
        raise ConfigError(f"task={task.name}: its answers are free text, so that there is no constant one.")
    counts = Counter(example.references[0] for example in examples)
    common = sorted(counts, key=lambda label: (-counts[label], label))
    return [(f"{task.labels[label]} ({counts[label]:,})", [label] * len(examples)) for label in common]


def scores(task: Task, examples: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
    """Every value of the task's metrics."""
    from repro.evaluation.scoring import score

    return dict(score(task, examples, list(predictions)).values)
