"""COPA (SuperGLUE): which of two sentences is the cause or the effect of a third."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from repro.tasks.base import Choice, Example, TaskSection, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, require_one_of
from repro.tasks.labels import class_of, label_of, labelled_text
from repro.tasks.registry import register
from repro.tasks.superglue_files import FILES, OBTAIN, loaded_rows, source_rows

FIELDS = ("choice1", "choice2", "premise", "question")
JOINERS = {"cause": "because", "effect": "so"}


@register("copa")
class Copa(FileTask):
    """COPA: which of two sentences is the premise's cause, or its effect.

    As a choice (P-Tuning v2) the premise keeps its full stop and a joiner follows: `He fell. because` with each choice.
    """

    formats = ("text_to_text", "choice")
    files = FILES
    obtain = OBTAIN

    sample_fields = MappingProxyType({"question": "cause"})
    inputs = FIELDS

    def __init__(self, section: TaskSection) -> None:
        """Raises ConfigError: labels other than choice1, choice2."""
        super().__init__(section)
        require_one_of("task.labels", list(self.labels), [["choice1", "choice2"]])

    def _load(self, split: str) -> Loaded:
        label_type = "index" if self._source.kind == "local" else None
        rows = source_rows(self._source, split)
        return loaded_rows(rows, split, FIELDS, self.labels, label_type, allowed={"question": JOINERS})

    def render(self, example: Example) -> TextToText | Choice:
        """T5's string and `choice1` or `choice2`, or P-Tuning v2's two pairs and the index of the right one."""
        if self.format == "text_to_text":
            return labelled_text(example, FIELDS, self.labels)
        first = f"{example.fields['premise']} {JOINERS[example.fields['question']]}"
        return Choice(tuple((first, example.fields[choice]) for choice in self.labels), label_of(example))

    def parse(self, output: Any, example: Example) -> int:
        """The index of the chosen sentence; -1 where generated text is not exactly a label."""
        return class_of(output, self.format, self.labels)
