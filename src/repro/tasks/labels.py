"""Class labels: as files and the hub write them, as text that a model generates, and back."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from repro.errors import ConfigError, DataError
from repro.tasks.base import Example, Pair, TextToText

LABEL_TYPES: dict[str, type] = {"name": str, "boolean": bool, "index": int, "digit": str}
"""How a file writes a label: the class's name, JSON true and false (classes True, False), the class id as a number, or
the class id as a text (tables)."""


def check_labels(labels: Sequence[str], name: str) -> None:
    """Raises ConfigError: fewer than two classes, or one twice."""
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise ConfigError(
            f"task.labels of {name} is {list(labels)}: name at least two classes, each once, in id order."
        )


def class_id(
    row: Mapping[str, object], labels: Sequence[str], label_type: str | None, where: str, *, required: bool
) -> int | None:
    """The class id of a row's label; None where there is none and none is required.

    Args:
        label_type: one of LABEL_TYPES; None takes any but `digit` (the hub's columns differ).

    Raises:
        DataError: there is no label though one is required, or it is no class.
    """
    raw = row.get("label")
    # The hub writes a hidden label as -1.
    if not required and (raw is None or (label_type is None and raw == -1)):
        return None
    if "label" not in row:
        raise DataError(f"{where} lacks the field 'label': it has {reprlib.repr(sorted(row))}.")
    if label_type == "digit":
        names = [str(number) for number in range(len(labels))]
        if raw in names:
            return names.index(str(raw))
    # type(), because True is an int: a boolean in an index column would pass for class 1.
    elif label_type is None or type(raw) is LABEL_TYPES[label_type]:
        if type(raw) is int and 0 <= raw < len(labels):
            return raw
        if isinstance(raw, str | bool) and str(raw) in labels:
            return list(labels).index(str(raw))
    ids = f"a class id from 0 to {len(labels) - 1}"
    allowed = {"boolean": "true, false", "index": ids, "digit": f"{ids}, as text"}.get(str(label_type))
    raise DataError(f"{where}: the label is {reprlib.repr(raw)}: allowed is {allowed or ', '.join(labels)}.")


def label_of(example: Example) -> int:
    """The gold class id, -1 where the example is unlabelled."""
    return int(example.references[0]) if example.references else -1


def labelled_text(example: Example, fields: Sequence[str], labels: Sequence[str]) -> TextToText:
    """`field: text field: text`, one space between the parts, nothing stripped (T5's `glue` preprocessor)."""
    label = label_of(example)
    source = " ".join(f"{name}: {example.fields[name]}" for name in fields)
    return TextToText(source, "" if label < 0 else labels[label])


def segments(example: Example, template: Sequence[str]) -> Pair:
    """The one or two segments that format strings make of the fields, and the class id (P-Tuning v2)."""
    made = [segment.format(**example.fields) for segment in template]
    return Pair(made[0], made[1] if len(made) > 1 else None, label_of(example))


def class_of(output: Any, format: str, labels: Sequence[str]) -> int:
    """T5's rule for text (`string_label_to_class_id`): the exact label or nothing; no case or space is forgiven."""
    if format != "text_to_text":
        return int(output)
    return list(labels).index(output) if output in labels else -1
