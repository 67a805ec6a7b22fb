"""Rows of a data set of sentences, whatever the file: jsonl, one json object of rows, or a table with tabs."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.errors import DataError
from repro.tasks.files import read_json, read_jsonl, read_lines

Row = tuple[str, dict[str, Any]]
"""Where a row stands, and its values by column."""


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, by the end of its name: `.jsonl` and `.jsonl.gz` an object a line; `.json` {row: object} or a
    list of objects; anything else a table (GLUE's tsv, the MSR corpus).

    Raises:
        DataError: the file cannot be read, or is not in that format; with the line or row.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        return read_jsonl(path)
    return _json_rows(path) if name.endswith(".json") else read_table(path)


def read_table(path: Path) -> list[Row]:
    """Lines of fields between tabs under a line of column names. Quotation marks are text: no quoting is undone.

    Raises:
        DataError: as `read_lines`; a column named twice, or a line with another number of fields than the first.
    """
    (place, header), *lines = read_lines(path)
    columns = header.split("\t")
    if len(set(columns)) < len(columns):
        raise DataError(f"{place} names a column twice: {reprlib.repr(columns)}. Give each column its own name.")
    rows = []
    for where, line in lines:
        values = line.split("\t")
        if len(values) != len(columns):
            raise DataError(
                f"{where} has {len(values)} fields between tabs, the first line names {len(columns)} columns: mend the "
                "line or get the file again."
            )
        rows.append((where, dict(zip(columns, values, strict=True))))
    return rows


def _json_rows(path: Path) -> list[Row]:
    data = read_json(path)
    if not isinstance(data, dict | list):
        raise DataError(f"{path} holds {reprlib.repr(data)}: an object or a list of rows is needed.")
    named = data.items() if isinstance(data, dict) else enumerate(data, 1)
    rows = [(f"{path} row {reprlib.repr(name)}", row) for name, row in named]
    for where, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{where} is {reprlib.repr(row)}: a JSON object {{...}} is needed.")
    return rows


def with_names(rows: Sequence[Row], columns: Mapping[str, str]) -> list[Row]:
    """The rows with fields under our names.

    Args:
        columns: {our name: the file's}; a row that has our name already keeps it.
    """
    return [
        (where, row | {name: row[theirs] for name, theirs in columns.items() if name not in row and theirs in row})
        for where, row in rows
    ]
