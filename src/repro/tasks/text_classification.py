"""A class for one or several texts, out of a table with named columns: a data set of one's own needs only a yaml file.

A row looks as the papers' sentence pairs do (`repro.tasks.sentence_pair`): `column: text column: text` for models
that generate (T5; Lester et al. 2021), one or two segments for an encoder (P-Tuning v2; Liu et al. 2022).
"""

from __future__ import annotations

import csv
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro.errors import ConfigError, DataError
from repro.tasks.base import Example, Pair, TaskSection, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, read_jsonl, read_lines, require_one_of, text_field
from repro.tasks.labels import check_labels, class_of, label_of, labelled_text
from repro.tasks.registry import register

FILES = {"train": "train.csv", "validation": "dev.csv", "test": "test.csv"}
_QUOTE = ' YAML reads yes, no, on and off as true and false: write them in quotes (labels: ["no", "yes"]).'
LONGEST_CELL = 2**31 - 1
"""The csv module's own limit is 131,072 characters, which whole documents exceed."""
ENDINGS = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz")


@register("text_classification")
class TextClassification(FileTask):
    """The rows of csv, tsv or jsonl files (by their ending), or of a hub data set.

    A csv or tsv file begins with a line of column names; csv cells may be quoted, tsv cells are as they stand. Labels
    are compared as text with `task.labels`: 1 in a jsonl file is the label "1". The test split may have none.

    `task.options`:
        columns: the text columns, in the order in which a model that generates reads them.
        label_column: the column of the class (default: label).
        template: an encoder's one or two segments, format strings over the columns (default: the first two columns).
        cluster: a column whose text dependent rows share, for the standard error (default: none).
        files: {split: file} (default: train.csv, dev.csv, test.csv).
    """

    formats = ("text_to_text", "pair")
    files = FILES
    obtain = "it is a data set of your own."

    def __init__(
        self,
        section: TaskSection,
        *,
        columns: Sequence[str],
        label_column: str = "label",
        template: Sequence[str] | None = None,
        cluster: str | None = None,
    ) -> None:
        """Raises ConfigError: no columns, fewer than two labels, a file of another ending, or a template that fails."""
        super().__init__(section)
        if isinstance(columns, str) or not columns or len(set(columns)) < len(columns):
            raise ConfigError(f"task.options.columns is {columns!r}: list the text columns, each once.")
        check_labels(self.labels, self.name)
        if self._source.kind == "local":
            for name in self._source.files.values():
                if not name.endswith(ENDINGS):
                    raise ConfigError(f"task.options.files names {name}: allowed endings are {', '.join(ENDINGS)}.")
        self.inputs = self._columns = tuple(columns)
        self._label_column, self._cluster = label_column, cluster
        require_one_of("task.options.cluster", cluster, (None, *self._columns))
        self._template = None if template is None else tuple(template)
        if self._template is not None:
            require_one_of("the number of segments in task.options.template", len(self._template), (1, 2))
            for segment in self._template:
                self._filled(segment, dict.fromkeys(self._columns, ""))

    def _load(self, split: str) -> Loaded:
        rows, examples = [], []
        for position, (where, row) in enumerate(self._rows(split)):
            texts = {name: text_field(row, name, where) for name in self._columns}
            label = self._label(row, where, required=split != "test")
            rows.append({**texts, "label": None if label is None else self.labels[label]})
            examples.append(
                Example(
                    f"{split}-{position}",
                    texts,
                    () if label is None else (label,),
                    cluster=texts[self._cluster] if self._cluster else None,
                )
            )
        return Loaded(rows, examples)

    def _rows(self, split: str) -> list[tuple[str, dict[str, object]]]:
        if self._source.kind == "hub":
            return self._source.hub_rows(split)
        return read_table(self._source.file(split))

    def _label(self, row: Mapping[str, object], where: str, *, required: bool) -> int | None:
        """The class id; None where the test split has no label (no column, an empty cell, null or -1)."""
        value = row.get(self._label_column)
        if not required and value in (None, "", -1) and str(value) not in self.labels:
            return None
        if self._label_column not in row:
            raise DataError(
                f"{where} lacks the column {self._label_column!r} (task.options.label_column): it has "
                f"{reprlib.repr(sorted(row))}."
            )
        if not isinstance(value, str | int) or str(value) not in self.labels:
            raise DataError(
                f"{where}: the label is {reprlib.repr(value)}: task.labels has {', '.join(map(repr, self.labels))}."
                + (_QUOTE if {"True", "False"} & set(self.labels) else "")
            )
        return self.labels.index(str(value))

    def render(self, example: Example) -> TextToText | Pair:
        """`column: text column: text` and the label's name, or the template's segments and the class id (-1: none)."""
        if self.format == "text_to_text":
            return labelled_text(example, self._columns, self.labels)
        if self._template is not None:
            made = [self._filled(segment, example.fields) for segment in self._template]
            return Pair(made[0], made[1] if len(made) > 1 else None, label_of(example))
        texts = [example.fields[column] for column in self._columns[:2]]  # a column's name is no format string
        return Pair(texts[0], texts[1] if len(texts) > 1 else None, label_of(example))

    def _filled(self, segment: str, fields: Mapping[str, object]) -> str:
        """A segment with the columns' texts. A column's name may be anything, so this is no Python format string.

        Raises:
            ConfigError: braces around what is no column.
        """

        def text(match: re.Match[str]) -> str:
            if match[1] not in fields:
                raise ConfigError(
                    f"task.options.template has the segment {segment!r}: {match[1]!r} is no column of "
                    f"task.options.columns, {list(self._columns)}. Correct the name."
                )
            return str(fields[match[1]])

        return re.sub(r"\{([^{}]*)\}", text, segment)

    def parse(self, output: object, example: Example) -> int:
        """A class id; -1 where generated text is not exactly a label."""
        return class_of(output, self.format, self.labels)


def read_table(path: Path) -> list[tuple[str, dict[str, object]]]:
    """The rows of a csv, tsv or jsonl file as {column: value}, each with its place `path:line`.

    Raises:
        DataError: the file cannot be read, or a row has other cells than the first line has columns.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        return list(read_jsonl(path))
    tab = name.endswith(".tsv")
    lines = read_lines(path)
    reader = csv.reader(
        (f"{line}\n" for _, line in lines),
        delimiter="\t" if tab else ",",
        quoting=csv.QUOTE_NONE if tab else csv.QUOTE_MINIMAL,
        strict=True,
    )
    csv.field_size_limit(LONGEST_CELL)
    columns: Sequence[str] = ()
    rows: list[tuple[str, dict[str, object]]] = []
    try:
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _column_names(cells, where)
            elif len(cells) != len(columns):
                raise DataError(f"{where} has {len(cells)} cells, the first line names {len(columns)} columns.")
            else:
                rows.append((where, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num} is no row of a table ({error}): mend the line.") from error
    return rows


def _column_names(cells: Sequence[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(set(names)) < len(names) or not all(names):
        raise DataError(f"{where} must name the columns, each once: it has {reprlib.repr(names)}.")
    return names
