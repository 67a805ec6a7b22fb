"""A validation split taken out of the file of the training split (GLUE's MRPC)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from repro.errors import ConfigError, DataError
from repro.tasks.files import Source, read_lines
from repro.tasks.tables import Row


class HeldOut:
    """Which rows of a file are for validation.

    `task.options.validation_list`:
        rows: how many.
        ids: a file in the data folder that lists them, the values of `columns` between tabs on a line each; null: they
            are drawn at random, once and for all, which is a deviation.
        columns: the columns whose values name a row.
    """

    def __init__(self, source: Source, *, rows: int, ids: str | None = None, columns: Sequence[str] = ()):
        """Nothing is read here.

        Raises:
            ConfigError: no whole number of rows, or ids without columns.
        """
        if type(rows) is not int or rows < 1:
            raise ConfigError(f"task.options.validation_list.rows={rows}: give the number of validation rows, 408 say.")
        self._rows, self._ids, self._columns = rows, ids, tuple(columns or ())
        if ids is not None and not self._columns:
            raise ConfigError("task.options.validation_list.columns is empty: name the columns that `ids` lists.")
        self._source = source
        self.needed = () if ids is None else (str(_ids_file(source, ids)),)
        """Files besides the training split's."""

    def part(self, rows: Sequence[Row], split: str) -> tuple[list[Row], tuple[str, ...]]:
        """The rows of `train` or `validation`, in file order, and what to say of it in the record.

        Raises:
            DataError: the list is missing, or names a row that is not in the file; or the file has too few rows.
        """
        chosen = self._drawn(len(rows)) if self._ids is None else self._listed(rows)
        kept = [row for position, row in enumerate(rows) if (position in chosen) == (split == "validation")]
        if self._ids is not None:
            return kept, ()
        return kept, (f"{split}: {self._rows} rows drawn at random are for validation, not those that GLUE lists.",)

    def _drawn(self, total: int) -> set[int]:
        if total <= self._rows:
            raise DataError(
                f"{self._source.place('train')} has {total} rows and task.options.validation_list.rows={self._rows}: "
                "no row would be left to train on."
            )
        generator = np.random.Generator(np.random.PCG64(0))
        return {int(position) for position in generator.permutation(total)[: self._rows]}

    def _listed(self, rows: Sequence[Row]) -> set[int]:
        listed = _read_ids(self._source, str(self._ids), self._rows)
        found: dict[tuple[str, ...], int] = {}
        for position, (where, row) in enumerate(rows):
            missing = [name for name in self._columns if name not in row]
            if missing:
                raise DataError(f"{where} lacks the column {missing[0]!r}, which names a row.")
            found[tuple(str(row[name]) for name in self._columns)] = position
        for where, names in listed:
            if names not in found:
                raise DataError(
                    f"{where} names the row {names}, which is not in {self._source.place('train')}: get both again."
                )
        return {found[names] for _, names in listed}


def _ids_file(source: Source, name: str) -> Path:
    """The list lies beside the training split's file."""
    return (Path(source.data_dir) / source.files["train"]).parent / name


def _read_ids(source: Source, name: str, rows: int) -> list[tuple[str, tuple[str, ...]]]:
    path = _ids_file(source, name)
    if not path.is_file():
        raise DataError(
            f"the file {path} ({source.task}, the rows for validation) does not exist: {source.obtain} To draw {rows} "
            "rows at random instead (the record says so), set task.options.validation_list.ids=null (as a part of "
            f"another task: task.parts.{source.task}.options.validation_list.ids=null)."
        )
    return [(where, tuple(line.split("\t"))) for where, line in read_lines(path) if line.strip()]
