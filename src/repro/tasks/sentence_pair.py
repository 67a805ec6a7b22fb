"""A class for one or two texts (RTE, CB, BoolQ, WiC, GLUE's): two papers show the same rows in two ways.

Prompt tuning (Lester et al. 2021, section 3; T5's `glue` preprocessor with the task name removed) makes one string,
`field: text field: text`, and the label's name is what the model generates. P-Tuning v2 (Liu et al. 2022; its
tasks/superglue/dataset.py) gives an encoder with a class head one or two segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from repro.errors import ConfigError
from repro.metrics.registry import check_options
from repro.tasks.base import Example, Pair, TaskSection, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, require_one_of, try_format
from repro.tasks.held_out import HeldOut
from repro.tasks.labels import LABEL_TYPES, check_labels, class_of, labelled_text, segments
from repro.tasks.registry import register
from repro.tasks.superglue_files import FILES, OBTAIN, loaded_rows, source_rows
from repro.tasks.tables import with_names


@register("sentence_pair")
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

    def __init__(
        self,
        section: TaskSection,
        *,
        text_fields: Sequence[str],
        templates: Sequence[Sequence[str]] = (),
        template_id: int = 0,
        label_type: str = "name",
        cluster: str | None = None,
        columns: Mapping[str, str] | None = None,
        validation_list: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises ConfigError: too few labels, no text fields, or a template over unknown fields."""
        super().__init__(section)
        check_labels(self.labels, self.name)
        self.inputs = self._fields = tuple(text_fields)
        if not self._fields:
            raise ConfigError("task.options.text_fields is empty: name the fields of a row, in T5's order.")
        self._template = _checked_template(templates, template_id, self._fields) if self.format == "pair" else ()
        self._cluster = cluster
        require_one_of("task.options.cluster", cluster, (None, *self._fields))
        self._label_type = label_type
        require_one_of("task.options.label_type", label_type, LABEL_TYPES)
        self._columns = dict(columns or {})
        for name in self._columns:
            require_one_of("a key of task.options.columns", name, (*self._fields, "label"))
        self._held_out: HeldOut | None = None
        if validation_list and self._source.kind == "local":
            check_options("task.options.validation_list", HeldOut, validation_list, given=1)
            self._held_out = held_out = HeldOut(self._source, **validation_list)
            self.needed = {
                split: paths if split == "test" else (*paths, *held_out.needed) for split, paths in self.needed.items()
            }

    def _load(self, split: str) -> Loaded:
        rows = source_rows(self._source, split)
        said: tuple[str, ...] = ()
        if self._held_out is not None and split != "test":
            rows, said = self._held_out.part(rows, split)
        label_type = self._label_type if self._source.kind == "local" else None
        rows = with_names(rows, self._columns)
        return loaded_rows(rows, split, self._fields, self.labels, label_type, cluster=self._cluster, deviations=said)

    def render(self, example: Example) -> TextToText | Pair:
        """T5's string and the label's name, or P-Tuning v2's segments and the class id (-1: unlabelled)."""
        if self.format == "text_to_text":
            return labelled_text(example, self._fields, self.labels)
        return segments(example, self._template)

    def parse(self, output: object, example: Example) -> int:
        """A class id; -1 where generated text is not exactly a label."""
        return class_of(output, self.format, self.labels)


def _checked_template(templates: Sequence[Sequence[str]], number: int, fields: tuple[str, ...]) -> tuple[str, ...]:
    """The chosen template's one or two format strings, tried on empty fields."""
    require_one_of("task.options.template_id", number, range(len(templates)))
    template = tuple(templates[number])
    require_one_of(f"the number of segments in task.options.templates[{number}]", len(template), (1, 2))
    for segment in template:
        try_format(f"task.options.templates[{number}] has the segment", segment, fields)
    return template
