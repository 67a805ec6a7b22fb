"""ReCoRD (SuperGLUE): which entity of a passage fills the gap in a query? Any of several may be right.

Prompt tuning (Lester et al. 2021; papers/lester2021 sections (c) and (d)) lists the entities in the input and generates
one: a training row an answer, one row a query at evaluation. P-Tuning v2 (Liu et al. 2022; papers/liu2022 section (c))
puts each entity into the gap: a row an entity, classified by itself, and the highest score of a query is its answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from repro.errors import DataError
from repro.tasks.base import Example, Ranking, TaskSection, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, read_jsonl, require_one_of, text_field
from repro.tasks.nested import inner, items, whole
from repro.tasks.registry import register
from repro.tasks.superglue_files import FILES, OBTAIN

GAP = "@placeholder"
_SENTENCE_END = re.compile(r"([.?!\"'])\n@highlight\n")


@dataclass(frozen=True)
class Query:
    """One query with its passage."""

    passage: str
    query: str
    entities: tuple[str, ...]
    """Each once, sorted."""
    answers: tuple[str, ...]
    """Each once, sorted; empty where they are not public."""
    idx: tuple[int, int]
    """Numbers of passage and query within the split."""


_FEWGLUE = "So many has FewGLUE's sample, which is not ReCoRD."


@register("record")
class Record(FileTask):
    """One example a query, but for text to text one a gold answer in training.

    The 32 queries of FewGLUE (`train.32.jsonl`, `val.32.jsonl`) are taken for want of the whole files only with
    `check_rows` off.
    """

    formats = ("text_to_text", "ranking")
    files = FILES
    obtain = OBTAIN
    lookalikes = MappingProxyType({"train": {32: _FEWGLUE}, "validation": {32: _FEWGLUE}})
    inputs = ("query", "passage", "entities")
    sample_fields = MappingProxyType({"query": "QUERY @placeholder QUERY", "entities": ["ENTITY1", "ENTITY2"]})

    def __init__(self, section: TaskSection) -> None:
        """Raises ConfigError: labels."""
        super().__init__(section)
        require_one_of("task.labels", list(self.labels), [[]])

    def _file(self, split: str) -> Path:
        """The split's file.

        Raises:
            DataError: it is missing, or FewGLUE's stands there instead and the number of rows matters.
        """
        few = Path(self._source.place(split)).with_suffix(".32.jsonl")
        if Path(self._source.place(split)).is_file() or not few.is_file():
            return self._source.file(split)
        if self._check_rows:
            raise DataError(
                f"{few} is FewGLUE's sample of 32 queries, not the {split} split of ReCoRD with "
                f"{self._original_rows.get(split, 'all')}: {self._source.obtain} To try things out on these 32 (the "
                "record says so), set task.check_rows=false."
            )
        return few

    def _load(self, split: str) -> Loaded:
        required = split != "test"
        if self._source.kind == "local":
            rows = read_jsonl(self._file(split))
            queries = [query for where, row in rows for query in _official(row, where, required)]
        else:
            queries = [_from_hub(row, where, required) for where, row in self._source.hub_rows(split)]
        contents = [
            [query.passage, query.query, list(query.entities), list(query.answers), list(query.idx)]
            for query in queries
        ]
        examples = [_example(query, split) for query in queries]
        if split == "train" and self.format == "text_to_text":
            examples = [one for example in examples for one in _one_an_answer(example)]
        return Loaded(contents, examples)

    def render(self, example: Example) -> TextToText | Ranking:
        """T5's string and the answer (of several the first, but for training rows, which have one each), or P-Tuning
        v2's pair for every entity."""
        passage, query, entities = (example.fields[name] for name in ("passage", "query", "entities"))
        if self.format == "text_to_text":
            source = f"query: {query} entities: {', '.join(_listed(entities))} passage: {with_sentences(passage)}"
            return TextToText(source, example.meta.get("target") or (example.references or ("",))[0])
        first = passage.replace("@highlight\n", "- ")
        named = _listed(entities)
        labels = tuple(int(entity in example.references) if example.references else -1 for entity in named)
        return Ranking(tuple((first, query.replace(GAP, entity)) for entity in named), labels)

    def parse(self, output: Any, example: Example) -> str:
        """The generated text, or the entity with the highest score; on a tie the last of the alphabet, as the official
        code's sorting has it."""
        if self.format == "text_to_text":
            return str(output)
        return max(zip(output, _listed(example.fields["entities"]), strict=True))[1]


def with_sentences(passage: str) -> str:
    """The breaks before highlights as ends of sentences: a space after a mark that ends one, else a full stop (T5)."""
    return _SENTENCE_END.sub(r"\1 ", passage).replace("\n@highlight\n", ". ")


def _listed(entities: str | Sequence[str]) -> tuple[str, ...]:
    """Entities of an example; an unlabelled input of `repro predict` has them as one text with commas."""
    return tuple(part.strip() for part in entities.split(",")) if isinstance(entities, str) else tuple(entities)


def _official(row: Mapping[str, object], where: str, required: bool) -> list[Query]:
    """{passage: {text, entities: [{start, end}]}, qas: [{query, idx, answers: [{text}]}], idx}; `end` is the last
    character."""
    passage, number = inner(row, "passage", where), whole(row, "idx", where)
    text = text_field(passage, "text", where)
    entities = []
    for place, entity in items(passage, "entities", where):
        start = whole(entity, "start", place)
        end = whole(entity, "end", place, least=start)
        if end >= len(text):
            raise DataError(f"{place} ends at character {end}: the passage has {len(text)}.")
        entities.append(text[start : end + 1])
    queries = []
    for place, asked in items(row, "qas", where):
        given = items(asked, "answers", place) if "answers" in asked or required else ()
        answers = [text_field(answer, "text", at) for at, answer in given]
        idx = (number, whole(asked, "idx", place))
        queries.append(_query(text, text_field(asked, "query", place), entities, answers, idx, place, required))
    return queries


def _from_hub(row: Mapping[str, object], where: str, required: bool) -> Query:
    idx = inner(row, "idx", where)
    numbers = (whole(idx, "passage", where), whole(idx, "query", where))
    texts = {name: _texts(row, name, where) for name in ("entities", "answers")}
    passage, query = text_field(row, "passage", where), text_field(row, "query", where)
    return _query(passage, query, texts["entities"], texts["answers"], numbers, where, required)


def _texts(row: Mapping[str, object], name: str, where: str) -> list[str]:
    found = row.get(name)
    if not isinstance(found, list):
        raise DataError(f"{where}: {name!r} is no list of texts.")
    return [text_field({name: text}, name, where) for text in found]


def _query(
    passage: str,
    query: str,
    entities: Sequence[str],
    answers: Sequence[str],
    idx: tuple[int, int],
    where: str,
    required: bool,
) -> Query:
    """Raises DataError: no gap, no entity, or no answer where one is needed."""
    if GAP not in query:
        raise DataError(f"{where}: the query has no {GAP}.")
    if not entities:
        raise DataError(f"{where}: the passage has no entities, so the query has no possible answer.")
    if required and not answers:
        raise DataError(f"{where} has no answer.")
    # Sorted, as in version 1.0.2 of the official loader, which T5 and prompt tuning name.
    return Query(passage, query, tuple(sorted(set(entities))), tuple(sorted(set(answers))), idx)


def _example(query: Query, split: str) -> Example:
    passage, own = query.idx
    return Example(
        id=f"{split}-{passage}-{own}",
        fields={"query": query.query, "passage": query.passage, "entities": query.entities},
        references=query.answers,
        cluster=f"{split}-{passage}",
        meta={"idx": {"passage": passage, "query": own}},
    )


def _one_an_answer(example: Example) -> list[Example]:
    """A training row for every gold answer."""
    return [
        replace(example, id=f"{example.id}-{number}", meta={**example.meta, "target": answer})
        for number, answer in enumerate(example.references)
    ]
