"""Extractive question answering: SQuAD 1.1 and 2.0, data of one's own in that format, and the MRQA sets.

P-Tuning v2 marks the answer in the context (format `span`; papers/liu2022 sections (c) and (d)); Lester et al. 2021,
section 5, have it written out (format `text_to_text`; papers/lester2021 section (c)), train on SQuAD 1.1, choose the
checkpoint on its development set and test on six development sets of MRQA from other domains. Such a task has SQuAD's
`train` and `validation`, and the other domain's set as `test`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from repro.errors import ConfigError
from repro.tasks.base import Example, Span, SpanAnswer, TaskSection, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, Source, require_one_of
from repro.tasks.registry import register
from repro.tasks.squad_files import Question, hub_mrqa_question, hub_question, read_questions

FILES = {"train": "train.json", "validation": "dev.json", "test": "test.json"}
OBTAIN = (
    "SQuAD is at rajpurkar.github.io/SQuAD-explorer, the out-of-domain sets at github.com/mrqa/MRQA-Shared-Task-2019; "
    "task.source=hub loads them from the hub."
)
STAND_IN = "empty"
"""What the official decoding answers where no piece of the context is possible."""

_PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")
_SPACES = re.compile(r"[\t\n\f\r ]+")

SPAN_DEVIATIONS = (
    "the softmax over answer places and the n-best lists leave padding out; the official code pads every window to "
    "384 tokens and counts the padding.",
    "an answer that starts in the last token of a window is labelled with that token; the official code labels the "
    "last place of the padding.",
)
TEXT_V2_DEVIATION = "no paper has SQuAD 2.0 as text: the target of a question without an answer is {!r}."


@register("question_answering")
class QuestionAnswering(FileTask):
    """A question, a context and the answer in it. A data set in SQuAD's json or MRQA's jsonl needs only a yaml file:
    files in `.json` have SQuAD's format, those in `.jsonl` and `.jsonl.gz` MRQA's.

    `task.options`:
        unanswerable: questions may have no answer (SQuAD 2.0).
        no_answer_text: text_to_text: the target that says so.
        null_threshold: span: "no answer" must score higher by more than this (P-Tuning v2: 0).
        stride, n_best, max_answer_tokens: span: see `repro.models.encoding.span_encoding` (128, 20, 30).
        hub_test: {id, config, revision, subset}: the test split on the hub, where it is another data set.
        train_task: what the training set is called in the paper's table.

    Only the first gold answer is trained on, in both formats; all of them are scored against.
    """

    formats = ("text_to_text", "span")
    files = FILES
    obtain = OBTAIN
    inputs = ("question", "context")
    hidden = MappingProxyType({"place": None})

    def __init__(
        self,
        section: TaskSection,
        *,
        unanswerable: bool = False,
        no_answer_text: str = "unanswerable",
        null_threshold: float = 0.0,
        stride: int = 128,
        n_best: int = 20,
        max_answer_tokens: int = 30,
        hub_test: Mapping[str, str] | None = None,
        train_task: str | None = None,
    ) -> None:
        """Raises ConfigError: an option out of range, or labels."""
        super().__init__(section)
        require_one_of("task.labels", list(self.labels), [[]])
        for key, value, least in (
            ("stride", stride, 0),
            ("n_best", n_best, 1),
            ("max_answer_tokens", max_answer_tokens, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"task.options.{key}={value}: give a whole number of at least {least}.")
        if isinstance(null_threshold, bool) or not isinstance(null_threshold, int | float):
            raise ConfigError(f"task.options.null_threshold={null_threshold}: give a number, 0 as in P-Tuning v2.")
        self._unanswerable, self._no_answer = bool(unanswerable), no_answer_text
        self._threshold = float(null_threshold)
        self._subset, self._hub_test = _hub_test(self.name, hub_test, self._source)

    def _load(self, split: str) -> Loaded:
        questions = self._questions(split)
        moved = sum(question.misplaced for question in questions)
        said = (f"{split}: {moved} first answers do not stand where the file says; the file's place is used.",)
        rows = [question.row() for question in questions]
        return Loaded(rows, [self._example(question) for question in questions], said if moved else ())

    def _questions(self, split: str) -> list[Question]:
        need_answer = not self._unanswerable and split != "test"
        if self._source.kind == "local":
            return read_questions(self._source.file(split), need_answer)
        if split == "test" and self._hub_test is not None:
            rows = self._hub_test.hub_rows(split)
            kept = [(where, row) for where, row in rows if row.get("subset") == self._subset]
            return [hub_mrqa_question(row, where, need_answer) for where, row in kept]
        return [hub_question(row, where, need_answer) for where, row in self._source.hub_rows(split)]

    def _example(self, question: Question) -> Example:
        references = question.answers
        if references is not None and not references:
            references = ("",) if self._unanswerable else ()
        if self.format == "text_to_text":
            references = tuple(map(padded, references or ()))
        fields = {"question": question.question, "context": question.context, "place": question.place}
        return Example(question.id, fields, tuple(references or ()), cluster=question.context)

    def render(self, example: Example) -> TextToText | Span:
        """T5's `question: ... context: ...` with padded punctuation, or the question without leading spaces, the
        context and the place of the first gold answer."""
        question, context = example.fields["question"], example.fields["context"]
        if self.format == "span":
            return Span(question.lstrip(), context, example.fields["place"])
        source = _SPACES.sub(" ", f"question: {padded(question)} context: {padded(context)}")
        target = example.references[0] if example.references else ""
        return TextToText(source, self._no_answer if self._unanswerable and not target else target)

    def parse(self, output: Any, example: Example) -> str | dict[str, Any]:
        """A generated text (stripped), or a `SpanAnswer` as a piece of the context.

        Where questions may have no answer, the empty text says so; a span's best piece and its odds stand beside it.
        """
        if not isinstance(output, SpanAnswer):
            text = str(output).strip()
            return "" if self._unanswerable and text == self._no_answer else text
        start, end = output.place or (0, 0)
        piece = example.fields["context"][start:end] or STAND_IN
        if not self._unanswerable:
            return piece
        text = "" if output.null_odds > self._threshold else piece
        return {"text": text, "answer": piece, "null_odds": output.null_odds}

    def _own_deviations(self) -> tuple[str, ...]:
        own: tuple[str, ...] = SPAN_DEVIATIONS if self.format == "span" else ()
        if self.format == "text_to_text" and self._unanswerable:
            own = (TEXT_V2_DEVIATION.format(self._no_answer),)
        return own


def _hub_test(name: str, given: Mapping[str, str] | None, source: Source) -> tuple[str | None, Source | None]:
    """The subset and the place of a test split that is a data set of its own on the hub."""
    if given is None:
        return None, None
    if not isinstance(given, Mapping) or not given.get("id") or not given.get("subset"):
        raise ConfigError(
            f"task.options.hub_test={given}: give the test set's place on the hub as {{id, config, revision, subset}}; "
            "id and subset are needed."
        )
    place = Source(
        name, source.kind, source.data_dir, source.files, OBTAIN, given["id"], given.get("config"),
        given.get("revision"),
    )  # fmt: skip
    return str(given["subset"]), place


def padded(text: str) -> str:
    """A space on both sides of every ASCII punctuation mark, then runs of white space as one space (T5's
    `_pad_punctuation`): an answer at a mark begins or ends with a space, as in T5."""
    return _SPACES.sub(" ", _PUNCTUATION.sub(r" \1 ", text))
