"""What `conf/task`, the kinds of task, the papers' numbers and assets.yaml say of tasks: docs/tasks.md, one's story."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from repro.config.compose import conf_dir
from repro.config.task_files import task_names, typed_task
from repro.config.task_schema import TaskConfig
from repro.doctor.assets import Asset, of_task
from repro.doctor.tasks import parts_of
from repro.metrics.base import AnyMetric
from repro.papers import registry
from repro.tasks.base import SPLITS, Choice, Cloze, Example, Pair, Ranking, Span, Tagged, Task, TextToText, every_metric
from repro.tasks.registry import task_in_format, task_kind

ROOT = "DATA"
"""Stands for the data root in paths."""
MOST_LABELS = 14

HEAD = """\
# Tasks

<!-- Written by `repro tasks --write docs/tasks.md` from conf/task and src/repro/papers/reported; a test compares. Do
not edit. -->

Each task is one value of the config group `task`: `repro run task=NAME ...`. `repro tasks NAME` prints everything about
one: who reported it, what a model reads and answers in each format, the splits with their sizes, hashes and files, the
metrics, licence, traps and known deviations. `repro doctor` says which are ready here and what mends the others. A task
of your own is one yaml file ([own-data.md](own-data.md))."""


def page() -> str:
    """docs/tasks.md: one table of all tasks."""
    lines = ["| task | formats | result | metrics | papers |", "| --- " * 5 + "|"]
    for name in task_names():
        config = typed_task(name, ROOT)
        metrics = ", ".join(dict.fromkeys(str(metric["name"]) for metric in _metric_configs(config)))
        papers = ", ".join(tables_of(config.paper_name)) or "none"
        formats = ", ".join(config.formats)
        lines.append(f"| {name} | {formats} | {config.report_split} | {metrics or 'loss'} | {papers} |")
    return f"{HEAD}\n\n" + "\n".join(lines) + "\n"


def _metric_configs(config: TaskConfig) -> list[Mapping[str, object]]:
    return [metric for part in parts_of(config) for metric in (*part.metrics, *part.also_metrics)]


def _metrics(config: TaskConfig) -> list[AnyMetric]:
    return [metric for part in parts_of(config) for metric in every_metric(task_in_format(part, part.formats[0]))]


def story(name: str) -> str:
    """One task's whole story as Markdown. Words in capitals stand for the fields of a row.

    Raises:
        ConfigError: there is no such task.
    """
    config = typed_task(name, ROOT)
    lines = [f"# {name}", "", f"{title(name)}.", ""]
    for paper, tables in tables_of(config.paper_name).items():
        lines.append(f"- Reported by {paper}: {', '.join(tables)}.")
    if not config.paper_name and not config.parts:
        lines.append("- No paper here reports it.")
    lines.append(f"- Result: the {config.report_split} split.")
    if config.parts:
        lines.append(f"- Made of {', '.join(part.name for part in config.parts.values())}; scored by their metrics.")
    else:
        lines += _source(config) + ["", *_formats(config), "", *_splits(config), "", *_metric_lines(config)]
    lines += ["", *_remarks(config)]
    return "\n".join(lines).rstrip() + "\n"


def title(name: str) -> str:
    """What the first line of the file says the task is."""
    first = (conf_dir() / "task" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    return re.split(r"\.?\s+repro run ", first.removeprefix("# "))[0].rstrip(".")


def tables_of(paper_name: str | None) -> dict[str, list[str]]:
    """{paper: tables and figures} that print a result of a task."""
    exhibits: dict[str, set[str]] = {}
    for cell in registry.cells(task=paper_name, kind="result") if paper_name else ():
        exhibits.setdefault(cell.paper, set()).add(cell.at.partition(" = ")[0])
    return {paper: sorted(names) for paper, names in exhibits.items()}


def _source(config: TaskConfig) -> list[str]:
    lines = []
    if config.hub_id:
        named = [config.hub_id, config.hub_config, config.hub_revision]
        lines.append(f"- Hub (`task.source=hub`): `{', '.join(part for part in named if part)}`.")
    for asset in of_task(config.name):
        lines.append(f"- {asset.title}: licence: {asset.licence}. {how_to_get(asset)}")
    return lines


def how_to_get(asset: Asset) -> str:
    """The command that fetches a data set, or where a person gets it."""
    if asset.downloads:
        return f"`python scripts/fetch_assets.py --only {asset.name}`, or: {asset.get}."
    return f"{'Licensed, bring your own files' if asset.licensed else 'By hand'}: {asset.get}."


# Formats -------------------------------------------------------------------------------------------------------------


def _formats(config: TaskConfig) -> list[str]:
    lines = ["| format | the model reads | and answers |", "| --- | --- | --- |"]
    for format in [*config.formats, *(["cloze"] if config.cloze and "cloze" not in config.formats else [])]:
        reads, answers = shown_format(config, format)
        lines.append(f"| {format} | {reads} | {answers} |")
    labels = config.labels
    if labels:
        more = "" if len(labels) <= MOST_LABELS else f", ... ({len(labels)} in all)"
        lines += ["", f"Labels: {', '.join(f'`{label}`' for label in labels[:MOST_LABELS])}{more}."]
    elif config.options.get("labels_from"):
        lines += ["", f"Labels: those of the {config.options['labels_from']} split."]
    lengths = f"`max_input_length` {config.max_input_length}, `max_target_length` {config.max_target_length}"
    return [*lines, "", f"Tokens, where no recipe says otherwise: {lengths}."]


def shown_format(config: TaskConfig, format: str) -> tuple[str, str]:
    """What a model reads and answers, on a row whose fields hold their own names in capitals."""
    if format == "cloze":
        words = ", ".join(f"{label}: {_code(word.strip())}" for label, word in config.verbaliser.items())
        return _code("".join(config.cloze).upper()), words or "a word"
    task = task_in_format(_with_labels(config), format)
    rendered = task.render(sample(task, config))
    if isinstance(rendered, TextToText):
        return _code(rendered.source), _code(rendered.target)
    if isinstance(rendered, Pair):
        return " and ".join(_code(text) for text in (rendered.first, rendered.second) if text is not None), "a class"
    if isinstance(rendered, Choice):
        pairs = [" + ".join(_code(text) for text in pair if text is not None) for pair in rendered.pairs]
        return "; ".join(pairs), "which of them"
    if isinstance(rendered, Span):
        return f"{_code(rendered.question)} and windows of {_code(rendered.context)}", "a piece of the context"
    if isinstance(rendered, Tagged):
        return _code(" ".join((*rendered.words, *rendered.behind))), "a tag for every word"
    assert not isinstance(rendered, Cloze)
    return _ranking(rendered)


def _with_labels(config: TaskConfig) -> TaskConfig:
    """Tags that are read from a file are not known here: O stands for them."""
    options = dict(config.options)
    return config if options.pop("labels_from", None) is None else replace(config, options=options, labels=["O"])


def _ranking(rendered: Ranking) -> tuple[str, str]:
    """Candidates, each read by itself."""
    pairs = [" + ".join(_code(text) for text in pair if text is not None) for pair in rendered.pairs]
    return "; ".join(pairs), "the likeliest of them"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|").replace("\n", " ") + "`"


def sample(task: Task, config: TaskConfig) -> Example:
    """A row whose fields hold their own names in capitals, with the first label or a word as its answer."""
    fields: dict[str, object] = {name: name.upper() for name in task.inputs}
    fields |= {**task.hidden, **task_kind(config.kind).sample_fields}
    reference: object = 0 if task.labels else "TARGET"
    words = fields.get("words")
    if task.format == "tagging" and isinstance(words, Sequence):
        reference = ["O"] * len(words)
    return Example("sample", fields, (reference,))


# Splits and metrics --------------------------------------------------------------------------------------------------


def _splits(config: TaskConfig) -> list[str]:
    task = task_in_format(replace(config, source="local"), config.formats[0])
    lines = ["| split | rows | hash | files below the data root |", "| --- | --- | --- | --- |"]
    for split in SPLITS:
        rows = config.rows.get(split)
        if split == "test" and config.rows and rows is None and config.report_split != "test":
            continue  # there is none
        files = [path.removeprefix(f"{ROOT}/") for path in task.needed.get(split, ())]
        digits = config.sha256.get(split)
        cells = [split, f"{rows:,}" if rows else "any", f"`{digits}`" if digits else "not stated"]
        lines.append("| " + " | ".join([*cells, ", ".join(_code(file) for file in files)]) + " |")
    return lines


def _metric_lines(config: TaskConfig) -> list[str]:
    metrics = _metrics(config)
    if not metrics:
        return ["Metrics: none, the result is the loss."]
    return [
        f"Metric `{metric.name}` ({', '.join(metric.outputs)}): as {metric.equals}."
        + (f" Needs {metric.needs}." if metric.needs else "")
        + ("" if metric is metrics[-1] else "\\")
        for metric in metrics
    ]


def _remarks(config: TaskConfig) -> list[str]:
    """Traps of the data sets, and in what the task is known to differ from the papers."""
    lines = []
    if not config.parts:
        traps = [trap for asset in of_task(config.name) for trap in asset.traps]
        lines += [f"- Trap: {trap}" for trap in dict.fromkeys(traps)]
    said: dict[str, list[str]] = {}
    for format in config.formats:
        for text in _deviations(config, format):
            said.setdefault(text, []).append(format)
    for text, formats in said.items():
        where = "" if formats == list(config.formats) else f" ({', '.join(formats)})"
        lines.append(f"- Deviation{where}: {text.rstrip('.')}.")
    return lines


def _deviations(config: TaskConfig, format: str) -> Sequence[str]:
    if config.parts:
        return list(config.options.get("deviations") or ())
    return list(dict.fromkeys(task_in_format(config, format).deviations))
