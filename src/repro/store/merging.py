"""`repro store merge`: the records of several machines in one store, by a rule that loses nothing silently.

For a key that both sides have:

1. equal results (all but circumstances: machine, times, command): the one that is there stays;
2. one failed and the other did not: the one with a result is kept;
3. one has all values of the other, equal, and more (`repro metrics --score` was run on it): the fuller is kept;
4. else they conflict. The one that is there stays (`--conflicts newer`: the one that finished later), the other is laid
   beside it as `conflict-<hash>.json`, and the exit code is 1. `repro store verify` names it until one is removed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from repro.errors import StoreError
from repro.store.damage import Damaged
from repro.store.files import json_text, write_json_atomic
from repro.store.record import Record, with_checksum
from repro.store.store import Store

CHOICES = ("keep", "newer")


@dataclass
class Merged:
    """What became of the records of the sources."""

    counts: Counter[str] = field(default_factory=Counter)
    """{new, same, kept, replaced, conflict, damaged: records}"""
    lines: list[str] = field(default_factory=list)
    """A sentence for each that was not simply new or the same."""

    @property
    def open(self) -> int:
        """Records that somebody has to look at."""
        return self.counts["conflict"] + self.counts["damaged"]

    def note(self, what: str, line: str) -> None:
        self.counts[what] += 1
        self.lines.append(line)


def merge(sources: list[Path], target: Path, conflicts: str = "keep") -> Merged:
    """Put the records of every source into the target.

    Args:
        sources: results folders (with `records`), or folders of records.
        target: results folder; made if it is missing.
        conflicts: one of CHOICES.

    Raises:
        StoreError: a source that is no folder, or a target that cannot be written. What was merged before stays.
    """
    merged = Merged()
    store = Store(target / "records")
    for source in sources:
        root = source / "records" if (source / "records").is_dir() else source
        if not root.is_dir():
            raise StoreError(f"{source}: there is no such folder. Give results folders, each with records in it.")
        if root.resolve() == store.root.resolve():
            raise StoreError(f"{source} is the folder to merge into. Give the others only.")
        damaged: list[Damaged] = []
        for record in Store(root).records(on_damage=damaged.append):
            _into(store, record, root, conflicts, merged)
        for damage in damaged:
            merged.note("damaged", f"not taken: {damage}")
    return merged


def _into(store: Store, theirs: Record, root: Path, conflicts: str, merged: Merged) -> None:
    try:
        ours = store.get(theirs.key)
    except StoreError as error:  # the two cannot be compared
        merged.note("damaged", f"{theirs.key} of {root} was not taken: {error}")
        return
    if ours is None:
        store.put(theirs)
        merged.counts["new"] += 1
        return
    match compared(ours, theirs):
        case "same":
            merged.counts["same"] += 1
        case "ours":
            merged.note("kept", f"{theirs.key}: kept the one that is there ({_why(ours, theirs)}), not that of {root}")
        case "theirs":
            store.put(theirs)
            merged.note("replaced", f"{theirs.key}: took that of {root} ({_why(theirs, ours)})")
        case _:
            _conflict(store, ours, theirs, root, conflicts, merged)


def _conflict(store: Store, ours: Record, theirs: Record, root: Path, conflicts: str, merged: Merged) -> None:
    newer = conflicts == "newer" and _finished(theirs) > _finished(ours)
    aside, kept = (ours, theirs) if newer else (theirs, ours)
    data = with_checksum(aside.to_json())
    name = f"conflict-{hashlib.sha256(json_text(data).encode()).hexdigest()[:12]}.json"
    path = store.path(aside.key).with_name(name)
    write_json_atomic(path, data)  # first: a crash in between leaves both
    if newer:
        store.put(kept)
    whose = f"that of {root}" if newer else "the one that is there"
    merged.note("conflict", f"{theirs.key}: two different results; {whose} is the record, the other is {path}")


def compared(ours: Record, theirs: Record) -> str:
    """same | ours | theirs (the one to keep) | conflict"""
    failed = (ours.status == "failed", theirs.status == "failed")
    if failed == (True, True):
        return "same" if ours.reason == theirs.reason else "conflict"
    if any(failed):
        return "theirs" if failed[0] else "ours"
    left, right = _as_stored(ours), _as_stored(theirs)
    if _result(left) != _result(right):
        return "conflict"
    values = [_values(side) for side in (left, right)]
    if values[0] == values[1]:
        return "same"
    if all(values[0].get(name) == value for name, value in values[1].items()):
        return "ours"
    if all(values[1].get(name) == value for name, value in values[0].items()):
        return "theirs"
    return "conflict"


def _result(record: Record) -> tuple[object, ...]:
    """What must be equal, beside the values and statistics of each split, for two records to agree."""
    return record.status, record.selection, record.curve, record.parameters, record.clusters, record.subsets


def _as_stored(record: Record) -> Record:
    """The record as it would be read from its file: a tuple is a list there."""
    return Record.from_json(json.loads(json_text(record.to_json())))


def _values(record: Record) -> dict[tuple[str, ...], object]:
    """{(field, split, name): value} of metrics and statistics."""
    parts: dict[str, Mapping[str, Mapping[str, object]]]
    parts = {"metrics": record.metrics, "statistics": record.statistics}
    return {
        (part, split, name): value
        for part, rows in parts.items()
        for split, row in rows.items()
        for name, value in row.items()
    }


def _why(kept: Record, other: Record) -> str:
    return "the other failed" if other.status == "failed" else "it has more values, the others equal"


def _finished(record: Record) -> str:
    """When a trial ended: UTC in ISO form, so that later is greater."""
    return str(record.provenance.get("finished") or "")
