"""MultiRC (SuperGLUE): is this answer to a question about a paragraph right? Several answers of a question may be.

Prompt tuning (Lester et al. 2021; papers/lester2021 sections (c) and (d)) reads `question: ... answer: ... paragraph:
...` and generates True or False; P-Tuning v2 (Liu et al. 2022; papers/liu2022 section (c)) has the paragraph and the
question with the answer as two segments. One row an answer in both; the answers of a question form a group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from repro.tasks.base import Example, Pair, TaskSection, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, read_jsonl, require_one_of, text_field
from repro.tasks.labels import class_id, class_of, label_of, labelled_text
from repro.tasks.nested import inner, items, whole
from repro.tasks.registry import register
from repro.tasks.superglue_files import FILES, OBTAIN

FIELDS = ("question", "answer", "paragraph")
"""In the order of T5, which is not the alphabet's here."""
LABELS = ("False", "True")
_BOLD = re.compile("</?b>")


@dataclass(frozen=True)
class Answer:
    """One answer to one question."""

    texts: Mapping[str, str]
    """By field."""
    idx: tuple[int, int, int]
    """Numbers of paragraph, question and answer within the split."""
    label: int | None


@register("multirc")
class MultiRc(FileTask):
    """One row an answer.

    A limit on a split keeps a subset of the answers, so that questions lose some: exact match is then of what is left.
    """

    formats = ("text_to_text", "pair")
    files = FILES
    obtain = OBTAIN
    inputs = FIELDS

    def __init__(self, section: TaskSection) -> None:
        """Raises ConfigError: labels other than False, True."""
        super().__init__(section)
        require_one_of("task.labels", list(self.labels), [list(LABELS)])

    def _load(self, split: str) -> Loaded:
        required = split != "test"
        if self._source.kind == "local":
            answers = list(_official(read_jsonl(self._source.file(split)), required))
        else:
            answers = [_from_hub(row, where, required) for where, row in self._source.hub_rows(split)]
        rows = [{**answer.texts, "idx": list(answer.idx), "label": answer.label} for answer in answers]
        return Loaded(rows, [_example(answer, split) for answer in answers])

    def render(self, example: Example) -> TextToText | Pair:
        """T5's string without markup, or P-Tuning v2's two segments as they are."""
        if self.format == "text_to_text":
            plain = labelled_text(example, FIELDS, self.labels)
            return TextToText(without_markup(plain.source), plain.target)
        question, answer, paragraph = (example.fields[name] for name in FIELDS)
        return Pair(paragraph, f"{question} {answer}", label_of(example))

    def parse(self, output: Any, example: Example) -> int:
        """A class id; -1 where generated text is neither True nor False."""
        return class_of(output, self.format, self.labels)


def without_markup(text: str) -> str:
    """`<br>` as a space and bold tags dropped, as T5 does to the whole string."""
    return _BOLD.sub("", text.replace("<br>", " "))


def _official(rows: list[tuple[str, dict[str, Any]]], required: bool) -> Iterator[Answer]:
    """{idx, passage: {text, questions: [{question, idx, answers: [{text, idx, label}]}]}} a line."""
    for where, row in rows:
        passage, number = inner(row, "passage", where), whole(row, "idx", where)
        paragraph = text_field(passage, "text", where)
        for at, question in items(passage, "questions", where):
            asked, second = text_field(question, "question", at), whole(question, "idx", at)
            for place, answer in items(question, "answers", at):
                texts = {"question": asked, "answer": text_field(answer, "text", place), "paragraph": paragraph}
                label = class_id(answer, LABELS, "index", place, required=required)
                yield Answer(texts, (number, second, whole(answer, "idx", place)), label)


def _from_hub(row: Mapping[str, Any], where: str, required: bool) -> Answer:
    idx = inner(row, "idx", where)
    numbers = (whole(idx, "paragraph", where), whole(idx, "question", where), whole(idx, "answer", where))
    texts = {name: text_field(row, name, where) for name in FIELDS}
    return Answer(texts, numbers, class_id(row, LABELS, None, where, required=required))


def _example(answer: Answer, split: str) -> Example:
    paragraph, question, own = answer.idx
    return Example(
        id=f"{split}-{paragraph}-{question}-{own}",
        fields=answer.texts,
        references=() if answer.label is None else (answer.label,),
        cluster=f"{split}-{paragraph}",
        meta={"idx": {"paragraph": paragraph, "question": question, "answer": own}},
        group=f"{split}-{paragraph}-{question}",
    )
