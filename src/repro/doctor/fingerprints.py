"""Rows and content hash of a task's splits, and the scores of a constant answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from repro.config.schema import TaskConfig
from repro.config.task_files import task_names, typed_task
from repro.doctor.tasks import MADE_HERE, missing_files, parts_of, task_here, task_splits
from repro.errors import ConfigError, DataError
from repro.tasks.base import Example, SplitFacts, Task
from repro.tasks.file_task import SHOWN_DIGITS


def fingerprint(name: str, data_root: str) -> list[str]:
    """Rows and content hashes of a task's files as they are, as the lines of its file in conf/task.

    A split whose file is not there is left out. Every format must read the same rows.

    Raises:
        DataError: no split is there, or two formats read different rows.
    """
    lines = []
    for part in parts_of(typed_task(name, data_root)):
        read = [_facts(part, format) for format in part.formats]
        if not read[0]:
            raise DataError(f"task={part.name}: none of its files is under {data_root}. See `repro doctor`.")
        if any(other != read[0] for other in read):
            raise DataError(f"task={part.name}: its formats {part.formats} read different rows: {read}.")
        rows = ", ".join(f"{split}: {facts['rows']}" for split, facts in read[0].items())
        hashes = ", ".join(f'{split}: "{facts["sha256"][:SHOWN_DIGITS]}"' for split, facts in read[0].items())
        lines += [f"# {part.name}", f"rows: {{{rows}}}", f"sha256: {{{hashes}}}"]
    return lines


def _facts(config: TaskConfig, format: str) -> Mapping[str, SplitFacts]:
    task = task_here(replace(config, check_rows=False), format)
    for split in task_splits(task):
        if config.source == MADE_HERE or not missing_files(task, split):
            task.examples(split)
    return task.fingerprint()


def majority(name: str, data_root: str, check_rows: bool = True) -> list[str]:
    """A line for each part: validation rows, the constant answer, and its scores by our metrics.

    A class task says its most frequent class, a tagging task O for every word, a task with questions that may have no
    answer says that they have none.

    Raises:
        ConfigError: the answer is free text, so that there is no constant one.
    """
    lines = []
    for part in parts_of(typed_task(name, data_root)):
        format = next((format for format in part.formats if format != "text_to_text"), part.formats[0])
        task = task_here(replace(part, check_rows=part.check_rows and check_rows), format)
        examples = [example for example in task.examples("validation") if example.references]
        answers = constant_answers(task, examples)
        if task.metrics[0].name == "accuracy":  # the majority class is best; an F1 may like a rarer class better
            answers = answers[:1]
        for title, constant in answers:
            values = scores(task, examples, constant)
            shown = ", ".join(f"{key} {value:.2f}" for key, value in values.items())
            lines.append(f"{part.name} ({format}): {len(examples):,} validation rows, always {title}: {shown}")
    return lines


def every_majority(data_root: str) -> list[str]:
    """`majority` of every task that has one and whose validation split is there."""
    lines: list[str] = []
    configs = [typed_task(name, data_root) for name in task_names()]
    # Of several tasks with one validation set, the one that is about it is named.
    for config in sorted(configs, key=lambda config: config.report_split != "validation"):
        if config.parts or (not config.labels and not {"tagging", "span"} & set(config.formats)):
            continue  # a mixture's parts have lines of their own; free text has no constant answer
        try:
            known = [line.partition(": ")[2] for line in lines]  # several tasks may have one validation set
            lines += [line for line in majority(config.name, data_root) if line.partition(": ")[2] not in known]
        except DataError as error:
            lines.append(f"{config.name}: not here ({error})")
    return lines


def constant_answers(task: Task, examples: Sequence[Example]) -> list[tuple[str, list[Any]]]:
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


def scores(task: Task, examples: Sequence[Example], predictions: Sequence[Any]) -> dict[str, float]:
    """Every value of the task's metrics."""
    from repro.evaluation.scoring import score

    return dict(score(task, examples, list(predictions)).values)
