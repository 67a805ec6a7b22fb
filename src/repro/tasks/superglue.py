"""SuperGLUE tasks with a class as their answer: RTE, CB, BoolQ and WiC (`SentencePair`), and COPA (`Copa`).

Two papers show the same rows in two ways. Prompt tuning (Lester et al. 2021, section 3; T5's `glue` preprocessor with
the task name removed) makes one string, `field: text field: text`, and the label's name is what the model generates.
P-Tuning v2 (Liu et al. 2022; its tasks/superglue/dataset.py) gives an encoder with a class head one or two segments.
Both papers report on the validation split: the test labels are not public.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from repro.errors import ConfigError, DataError
from repro.tasks.base import Choice, Example, Pair, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, Source, read_jsonl, require_one_of, text_field, try_format

FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}
OBTAIN = (
    "the official SuperGLUE jsonl files come from https://super.gluebenchmark.com/tasks, or set task.source=hub to "
    "load them from the hub."
)
LABEL_TYPES: dict[str, type] = {"name": str, "boolean": bool, "index": int}
"""How a file writes a label: the class's name, JSON true and false (classes True, False), or the class id."""

COPA_FIELDS = ("choice1", "choice2", "premise", "question")
COPA_JOINERS = {"cause": "because", "effect": "so"}


class SentencePair(FileTask):
    """One class for one or two texts. A new data set of this kind needs only a yaml file.

    `task.options`:
        text_fields: the fields of the row, in the order in which T5 writes them.
        templates: the ways to make P-Tuning v2's segments, each a list of one or two format strings over the fields.
        template_id: which of them (WiC: 0 for RoBERTa, 1 for BERT).
        label_type: name (default), boolean or index: how a local file writes the label.
        cluster: a field whose text is shared by dependent examples (BoolQ: the passage), or null.
        files: {split: file name}, where they are not SuperGLUE's.
    """

    forms = ("text_to_text", "pair")
    files = FILES
    obtain = OBTAIN
    options = ("text_fields", "templates", "template_id", "label_type", "cluster")

    def _set_up(self, options: dict[str, Any]) -> None:
        """Raises ConfigError: too few labels, no text fields, or a template over unknown fields."""
        _check_labels(self.labels, self.name)
        self._fields = tuple(options.get("text_fields") or ())
        if not self._fields:
            raise ConfigError("task.options.text_fields is empty: name the fields of a row, in T5's order.")
        self._template = _checked_template(options, self._fields) if self.form == "pair" else ()
        self._cluster = options.get("cluster")
        require_one_of("task.options.cluster", self._cluster, (None, *self._fields))
        self._label_type = options.get("label_type", "name")
        require_one_of("task.options.label_type", self._label_type, LABEL_TYPES)

    def _load(self, split: str) -> Loaded:
        return _load(self._source, split, self._fields, self.labels, self._label_type, cluster=self._cluster)

    def render(self, example: Example) -> TextToText | Pair:
        """T5's string and the label's name, or P-Tuning v2's segments and the class id (-1: unlabelled)."""
        if self.form == "text_to_text":
            return _text_to_text(example, self._fields, self.labels)
        segments = [template.format(**example.fields) for template in self._template]
        return Pair(segments[0], segments[1] if len(segments) > 1 else None, _label(example))

    @property
    def inputs(self) -> tuple[str, ...]:
        """See `Task.inputs`."""
        return self._fields

    def parse(self, output: Any, example: Example) -> int:
        """A class id; -1 where generated text is not exactly a label."""
        return _class_of(output, self.form, self.labels)

    def _own_deviations(self) -> tuple[str, ...]:
        return self._splits.deviations()


class Copa(FileTask):
    """COPA: which of two sentences is the premise's cause, or its effect.

    As a choice (P-Tuning v2) the premise keeps its full stop and a joiner follows: `He fell. because` with each choice.
    Its only option is `files` (as in `SentencePair`).
    """

    forms = ("text_to_text", "choice")
    files = FILES
    obtain = OBTAIN
    options = ()

    def _set_up(self, options: dict[str, Any]) -> None:
        """Raises ConfigError: labels other than choice1, choice2."""
        require_one_of("task.labels", list(self.labels), [["choice1", "choice2"]])

    def _load(self, split: str) -> Loaded:
        return _load(self._source, split, COPA_FIELDS, self.labels, "index", allowed={"question": COPA_JOINERS})

    def render(self, example: Example) -> TextToText | Choice:
        """T5's string and `choice1` or `choice2`, or P-Tuning v2's two pairs and the index of the right one."""
        if self.form == "text_to_text":
            return _text_to_text(example, COPA_FIELDS, self.labels)
        first = f"{example.fields['premise']} {COPA_JOINERS[example.fields['question']]}"
        return Choice(tuple((first, example.fields[choice]) for choice in self.labels), _label(example))

    inputs = tuple(COPA_FIELDS)

    def parse(self, output: Any, example: Example) -> int:
        """The index of the chosen sentence; -1 where generated text is not exactly a label."""
        return _class_of(output, self.form, self.labels)

    def _own_deviations(self) -> tuple[str, ...]:
        return self._splits.deviations()


def _check_labels(labels: Sequence[str], name: str) -> None:
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise ConfigError(
            f"task.labels of {name} is {list(labels)}: name at least two classes, each once, in id order."
        )


def _checked_template(options: Mapping[str, Any], fields: tuple[str, ...]) -> tuple[str, ...]:
    """The chosen template's one or two format strings, tried on empty fields."""
    templates = options.get("templates") or []
    number = options.get("template_id", 0)
    require_one_of("task.options.template_id", number, range(len(templates)))
    template = tuple(templates[number])
    require_one_of(f"the number of segments in task.options.templates[{number}]", len(template), (1, 2))
    for segment in template:
        try_format(f"task.options.templates[{number}] has the segment", segment, fields)
    return template


def _load(
    source: Source,
    split: str,
    fields: Sequence[str],
    labels: tuple[str, ...],
    label_type: str,
    *,
    cluster: str | None = None,
    allowed: Mapping[str, Collection[str]] | None = None,
) -> Loaded:
    """A split of jsonl or hub rows: the text fields, and a label everywhere but on the test split.

    Args:
        cluster: the field whose text names the example's cluster.
        allowed: {field: the only texts that it may hold}.
    """
    local = source.kind == "local"
    located = read_jsonl(source.file(split)) if local else source.hub_rows(split)
    rows, examples = [], []
    for position, (where, row) in enumerate(located):
        texts = {name: text_field(row, name, where) for name in fields}
        for name, choices in (allowed or {}).items():
            if texts[name] not in choices:
                raise DataError(f"{where}: {name} is {reprlib.repr(texts[name])}: it must be one of {list(choices)}.")
        label = _class_id(row, labels, label_type if local else None, where, required=split != "test")
        rows.append({**texts, "label": None if label is None else labels[label]})
        examples.append(
            Example(
                id=f"{split}-{position}",
                fields=texts,
                references=() if label is None else (label,),
                cluster=texts[cluster] if cluster else None,
                meta={"idx": row.get("idx", position)},
            )
        )
    return Loaded(rows, examples)


def _class_id(
    row: Mapping[str, Any], labels: tuple[str, ...], label_type: str | None, where: str, *, required: bool
) -> int | None:
    """The class id of a row's label; None where there is none and none is required.

    Args:
        label_type: one of LABEL_TYPES; None takes any of them (the hub's columns differ).
    """
    raw = row.get("label")
    # The hub writes a hidden label as -1.
    if not required and (raw is None or (label_type is None and raw == -1)):
        return None
    if "label" not in row:
        raise DataError(f"{where} lacks the field 'label': it has {reprlib.repr(sorted(row))}.")
    # type(), because True is an int: a boolean in an index column would pass for class 1.
    if label_type is None or type(raw) is LABEL_TYPES[label_type]:
        if type(raw) is int and 0 <= raw < len(labels):
            return raw
        if isinstance(raw, str | bool) and str(raw) in labels:
            return labels.index(str(raw))
    allowed = {"boolean": "true, false", "index": f"a class id from 0 to {len(labels) - 1}"}.get(str(label_type))
    raise DataError(f"{where}: the label is {reprlib.repr(raw)}: allowed is {allowed or ', '.join(labels)}.")


def _label(example: Example) -> int:
    return int(example.references[0]) if example.references else -1


def _text_to_text(example: Example, fields: Sequence[str], labels: tuple[str, ...]) -> TextToText:
    """`field: text field: text`, one space between the parts, nothing stripped (T5's `glue` preprocessor)."""
    label = _label(example)
    source = " ".join(f"{name}: {example.fields[name]}" for name in fields)
    return TextToText(source, "" if label < 0 else labels[label])


def _class_of(output: Any, form: str, labels: tuple[str, ...]) -> int:
    """T5's rule for text (`string_label_to_class_id`): the exact label or nothing; no case or space is forgiven."""
    if form != "text_to_text":
        return int(output)
    return labels.index(output) if output in labels else -1
