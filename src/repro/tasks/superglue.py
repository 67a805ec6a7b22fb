"""Tasks with a class as their answer: of one or two texts (`SentencePair`: RTE, CB, BoolQ, WiC and GLUE's), and COPA.

Two papers show the same rows in two ways. Prompt tuning (Lester et al. 2021, section 3; T5's `glue` preprocessor with
the task name removed) makes one string, `field: text field: text`, and the label's name is what the model generates.
P-Tuning v2 (Liu et al. 2022; its tasks/superglue/dataset.py) gives an encoder with a class head one or two segments.
Both papers report on SuperGLUE's validation splits: the test labels are not public.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from repro.errors import ConfigError, DataError
from repro.tasks.base import Choice, Example, Pair, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, Source, require_one_of, text_field, try_format
from repro.tasks.held_out import HeldOut
from repro.tasks.labels import LABEL_TYPES, check_labels, class_id, class_of, label_of, labelled_text, segments
from repro.tasks.tables import Row, read_rows, with_names

FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}
OBTAIN = (
    "the official SuperGLUE jsonl files come from https://super.gluebenchmark.com/tasks, or set task.source=hub to "
    "load them from the hub."
)

COPA_FIELDS = ("choice1", "choice2", "premise", "question")
COPA_JOINERS = {"cause": "because", "effect": "so"}


class SentencePair(FileTask):
    """One class for one or two texts. A new data set of this kind needs only a yaml file.

    `task.options`:
        text_fields: the fields of the row, in the order in which T5 writes them.
        templates: the ways to make P-Tuning v2's segments, each a list of one or two format strings over the fields.
        template_id: which of them (WiC: 0 for RoBERTa, 1 for BERT).
        label_type: name (default), boolean, index or digit: how a local file writes the label (`LABEL_TYPES`).
        cluster: a field whose text is shared by dependent examples (BoolQ: the passage), or null.
        columns: {field, or label: the column of a local file that holds it}, where its name is another.
        validation_list: local files: how `validation` is taken out of the file of `train` (`HeldOut`).
        obtain: a sentence saying where the files can be had, where they are not SuperGLUE's.
        files: {split: file name}, where they are not SuperGLUE's; `.jsonl`, `.json` and tables (`tables.read_rows`).
    """

    formats = ("text_to_text", "pair")
    files = FILES
    obtain = OBTAIN
    options = (
        *("text_fields", "templates", "template_id", "label_type", "cluster", "columns", "validation_list", "obtain"),
    )

    def _set_up(self, options: dict[str, Any]) -> None:
        """Raises ConfigError: too few labels, no text fields, or a template over unknown fields."""
        check_labels(self.labels, self.name)
        self._fields = tuple(options.get("text_fields") or ())
        if not self._fields:
            raise ConfigError("task.options.text_fields is empty: name the fields of a row, in T5's order.")
        self._template = _checked_template(options, self._fields) if self.format == "pair" else ()
        self._cluster = options.get("cluster")
        require_one_of("task.options.cluster", self._cluster, (None, *self._fields))
        self._label_type = options.get("label_type", "name")
        require_one_of("task.options.label_type", self._label_type, LABEL_TYPES)
        self._columns = dict(options.get("columns") or {})
        for name in self._columns:
            require_one_of("a key of task.options.columns", name, (*self._fields, "label"))
        held_out = options.get("validation_list")
        self._held_out = HeldOut(held_out, self._source) if held_out and self._source.kind == "local" else None

    def needed(self, split: str) -> tuple[str, ...]:
        """The split's file, and the list of validation rows where one is asked for."""
        listed = self._held_out.needed if self._held_out is not None and split != "test" else ()
        return (*super().needed(split), *listed)

    def _load(self, split: str) -> Loaded:
        rows = _rows(self._source, split)
        said: tuple[str, ...] = ()
        if self._held_out is not None and split != "test":
            rows, said = self._held_out.part(rows, split)
        label_type = self._label_type if self._source.kind == "local" else None
        rows = with_names(rows, self._columns)
        return _loaded(rows, split, self._fields, self.labels, label_type, cluster=self._cluster, deviations=said)

    def render(self, example: Example) -> TextToText | Pair:
        """T5's string and the label's name, or P-Tuning v2's segments and the class id (-1: unlabelled)."""
        if self.format == "text_to_text":
            return labelled_text(example, self._fields, self.labels)
        return segments(example, self._template)

    @property
    def inputs(self) -> tuple[str, ...]:
        """See `Task.inputs`."""
        return self._fields

    def parse(self, output: Any, example: Example) -> int:
        """A class id; -1 where generated text is not exactly a label."""
        return class_of(output, self.format, self.labels)


class Copa(FileTask):
    """COPA: which of two sentences is the premise's cause, or its effect.

    As a choice (P-Tuning v2) the premise keeps its full stop and a joiner follows: `He fell. because` with each choice.
    Its only option is `files` (as in `SentencePair`).
    """

    formats = ("text_to_text", "choice")
    files = FILES
    obtain = OBTAIN
    options = ()

    def _set_up(self, options: dict[str, Any]) -> None:
        """Raises ConfigError: labels other than choice1, choice2."""
        require_one_of("task.labels", list(self.labels), [["choice1", "choice2"]])

    def _load(self, split: str) -> Loaded:
        label_type = "index" if self._source.kind == "local" else None
        rows = _rows(self._source, split)
        return _loaded(rows, split, COPA_FIELDS, self.labels, label_type, allowed={"question": COPA_JOINERS})

    def render(self, example: Example) -> TextToText | Choice:
        """T5's string and `choice1` or `choice2`, or P-Tuning v2's two pairs and the index of the right one."""
        if self.format == "text_to_text":
            return labelled_text(example, COPA_FIELDS, self.labels)
        first = f"{example.fields['premise']} {COPA_JOINERS[example.fields['question']]}"
        return Choice(tuple((first, example.fields[choice]) for choice in self.labels), label_of(example))

    inputs = tuple(COPA_FIELDS)

    def parse(self, output: Any, example: Example) -> int:
        """The index of the chosen sentence; -1 where generated text is not exactly a label."""
        return class_of(output, self.format, self.labels)


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


def _rows(source: Source, split: str) -> list[Row]:
    return read_rows(source.file(split)) if source.kind == "local" else source.hub_rows(split)


def _loaded(
    located: Sequence[Row],
    split: str,
    fields: Sequence[str],
    labels: tuple[str, ...],
    label_type: str | None,
    *,
    cluster: str | None = None,
    allowed: Mapping[str, Collection[str]] | None = None,
    deviations: tuple[str, ...] = (),
) -> Loaded:
    """A split of rows: the text fields, and a label everywhere but on the test split.

    Args:
        label_type: how the label is written, None for the hub's rows.
        cluster: the field whose text names the example's cluster.
        allowed: {field: the only texts that it may hold}.
    """
    rows, examples = [], []
    for position, (where, row) in enumerate(located):
        texts = {name: text_field(row, name, where) for name in fields}
        for name, choices in (allowed or {}).items():
            if texts[name] not in choices:
                raise DataError(f"{where}: {name} is {reprlib.repr(texts[name])}: it must be one of {list(choices)}.")
        label = class_id(row, labels, label_type, where, required=split != "test")
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
    return Loaded(rows, examples, deviations)
