"""Questions out of SQuAD's json, MRQA's jsonl and the hub's copies of both; every fault names its place."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.errors import DataError
from repro.tasks.files import read_json, read_jsonl, text_field
from repro.tasks.nested import items


@dataclass(frozen=True)
class Question:
    """One question of a data set, whatever its format."""

    id: str
    question: str
    context: str
    answers: tuple[str, ...] | None
    """Gold answers; empty: the question has none; None: they are not public."""
    place: tuple[int, int] | None
    """First character of the first gold answer and one past its last; None where there is none, or it is not placed."""

    @property
    def misplaced(self) -> bool:
        """The context reads otherwise at the answer's place."""
        if self.place is None or not self.answers:
            return False
        return self.context[self.place[0] : self.place[1]] != self.answers[0]

    def row(self) -> list[Any]:
        """As plain JSON values, for the content hash: equal for every format."""
        return [self.id, self.question, self.context, list(self.answers or ()), list(self.place or ())]


def read_questions(path: Path, need_answer: bool) -> list[Question]:
    """Every question of a file, in its order: MRQA's format if its name ends in .jsonl or .jsonl.gz, else SQuAD's.

    Args:
        need_answer: refuse a question without an answer.

    Raises:
        DataError: the file cannot be read, or is not in that format; says where.
    """
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return list(_mrqa_questions(path, need_answer))
    return list(_squad_questions(read_json(path), str(path), need_answer))


# SQuAD ---------------------------------------------------------------------------------------------------------------


def _squad_questions(data: Any, where: str, need_answer: bool) -> Iterator[Question]:
    """data[].paragraphs[].{context, qas[].{id, question, answers[].{text, answer_start}}}"""
    for at, article in items(data, "data", where):
        for inner, paragraph in items(article, "paragraphs", at):
            context = _context(paragraph, inner)
            for place, entry in items(paragraph, "qas", inner):
                yield _squad_question(entry, place, context, need_answer)


def _squad_question(entry: Mapping[str, Any], where: str, context: str, need_answer: bool) -> Question:
    if "answers" not in entry and not need_answer:
        return Question(text_field(entry, "id", where), text_field(entry, "question", where), context, None, None)
    answers = [
        (text_field(answer, "text", at), answer.get("answer_start")) for at, answer in items(entry, "answers", where)
    ]
    return _question(entry, where, context, answers, need_answer)


def hub_question(row: Mapping[str, Any], where: str, need_answer: bool) -> Question:
    """A row of rajpurkar/squad or squad_v2: `answers` is {text: [...], answer_start: [...]}.

    Raises:
        DataError: a column is missing or of another type.
    """
    answers = row.get("answers")
    texts, starts = (answers.get("text"), answers.get("answer_start")) if isinstance(answers, Mapping) else (None, None)
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise DataError(f"{where}: 'answers' is {reprlib.repr(answers)}: as many text as answer_start are needed.")
    found = [(text_field({"text": text}, "text", where), start) for text, start in zip(texts, starts, strict=True)]
    return _question(row, where, _context(row, where), found, need_answer)


def _question(
    entry: Mapping[str, Any], where: str, context: str, answers: list[tuple[str, Any]], need_answer: bool
) -> Question:
    name, question = text_field(entry, "id", where), text_field(entry, "question", where)
    if need_answer and not answers:
        raise DataError(
            f"{where} has no answer: for a data set whose questions may have none set task.options.unanswerable=true."
        )
    place = _checked_place(answers[0][1], len(answers[0][0]), context, where) if answers else None
    return Question(name, question, context, tuple(text for text, _ in answers), place)


def _checked_place(start: Any, length: int, context: str, where: str) -> tuple[int, int]:
    whole = isinstance(start, int) and not isinstance(start, bool)
    if not whole or not length or not 0 <= start <= len(context) - length:
        raise DataError(
            f"{where}: the first answer has {length} characters and starts at {reprlib.repr(start)}: a text within the "
            f"context's {len(context)} characters is needed."
        )
    return start, start + length


# MRQA ----------------------------------------------------------------------------------------------------------------


def _mrqa_questions(path: Path, need_answer: bool) -> Iterator[Question]:
    """A header line, then {context, qas: [{qid, question, detected_answers, answers}]} a line."""
    for where, row in read_jsonl(path):
        if "header" in row:
            continue
        context = _context(row, where)
        for at, entry in items(row, "qas", where):
            detected = [answer for _, answer in items(entry, "detected_answers", at)] if need_answer else None
            spans = detected[0].get("char_spans") if detected else None
            yield _mrqa_question(entry, at, context, spans, need_answer)


def hub_mrqa_question(row: Mapping[str, Any], where: str, need_answer: bool) -> Question:
    """A row of mrqa-workshop/mrqa. Its places are not read: no paper here trains on these sets.

    Raises:
        DataError: a column is missing or of another type.
    """
    return _mrqa_question(row, where, _context(row, where), None, need_answer)


def _mrqa_question(entry: Mapping[str, Any], where: str, context: str, spans: Any, need_answer: bool) -> Question:
    """`spans` are the places [first, last] of the first detected answer, which is what a span model trains on; scores
    are over `answers` (Lester et al. 2021)."""
    name, question = text_field(entry, "qid", where), text_field(entry, "question", where)
    given = entry.get("answers")
    if not isinstance(given, list) or not given:
        raise DataError(f"{where}: 'answers' is {reprlib.repr(given)}: a list of at least one text is needed.")
    answers = tuple(text_field({"answers": answer}, "answers", where) for answer in given)
    if not need_answer:
        return Question(name, question, context, answers, None)
    try:
        first, last = spans[0]
        place = _checked_place(first, last + 1 - first, context, where)
    except (TypeError, LookupError, ValueError) as error:
        raise DataError(f"{where}: the first of 'detected_answers' needs char_spans [[first, last]].") from error
    return Question(name, question, context, answers, place)


# Values --------------------------------------------------------------------------------------------------------------


def _context(row: Mapping[str, Any], where: str) -> str:
    context = text_field(row, "context", where)
    if not context.strip():
        raise DataError(f"{where}: the context is empty, so no answer can stand in it.")
    return context
