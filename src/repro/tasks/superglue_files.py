"""SuperGLUE's files, and rows of text fields with a label, as its tasks and GLUE's have them.

The papers report on SuperGLUE's validation splits: the test labels are not public.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping, Sequence

from repro.errors import DataError
from repro.tasks.base import Example
from repro.tasks.files import Loaded, Source, text_field
from repro.tasks.labels import class_id
from repro.tasks.tables import Row, read_rows

FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}
OBTAIN = (
    "the official SuperGLUE jsonl files come from https://super.gluebenchmark.com/tasks, or set task.source=hub to "
    "load them from the hub."
)


def source_rows(source: Source, split: str) -> list[Row]:
    """All rows of a split."""
    return read_rows(source.file(split)) if source.kind == "local" else source.hub_rows(split)


def loaded_rows(
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
