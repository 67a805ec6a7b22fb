"""The record of one trial: what was run, what came out, what it cost, and how it differs from the paper.

A record is the only thing a report may show. It is small (kept in git), versioned and written atomically by `store.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from repro.errors import StoreError
from repro.store.files import json_text

SCHEMA_VERSION = 2
"""1: no `files`, no `checksum` in the file. 2: both."""
CHECKSUM = "checksum"
"""The key under which a record's file holds the hash of everything else in it."""
STATUSES = ("done", "failed", "collapsed")


@dataclass
class Record:
    """Everything the report, the claims and a sceptical reader need about one trial.

    Values of metrics are in percent. `collapsed` means that the trial ended but predicts one constant, or nothing.
    """

    key: str
    status: str
    config: dict[str, Any]
    """The resolved config (`repro.config.schema.resolved`), hydra's own node excluded."""
    seed: int
    reason: str | None = None
    """Why it failed or collapsed, as a sentence."""
    choices: dict[str, Any] = field(default_factory=dict)
    """Which file of each config group was chosen."""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """{split: {value name: value}} at the chosen checkpoint; a part of a split has a row too (`test_seen`)."""
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    """{split: {value name: why this machine could not compute it}}: such a value is absent, never 0."""
    selection: dict[str, Any] = field(default_factory=dict)
    """rule, split, metric, value, step and epoch of the chosen checkpoint."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """One row an evaluation: step, epoch, train_loss, learning_rate, {split: {value name: value}}."""
    statistics: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    """{split: {metric name: per-example statistics [N, S]}} at the chosen checkpoint."""
    clusters: dict[str, list[int]] = field(default_factory=dict)
    """{split: the cluster of each example [N]}; no entry where every example stands alone (and in older records)."""
    subsets: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """{split: {`<split>_<subset>`: positions of its examples}}; their `statistics` give that row of `metrics`."""
    parameters: dict[str, int] = field(default_factory=dict)
    """trained, stored (what must be kept after training), frozen."""
    cost: dict[str, float] = field(default_factory=dict)
    """seconds, train_seconds, evaluation_seconds, steps, tokens, padded_tokens, peak_memory_bytes, flops."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """git, packages, python, device, data (fingerprints), weights (fingerprint), command, started, finished."""
    deviations: list[str] = field(default_factory=list)
    """Every known difference from the paper."""
    files: dict[str, str] = field(default_factory=dict)
    """{file in the trial's folder of runs: SHA-256}: predictions and the prompt, which are too large for a record."""
    schema_version: int = SCHEMA_VERSION

    @property
    def scores(self) -> set[tuple[str, str]]:
        """(split, value name) of every value, missing ones too."""
        kept = [pair for by_split in (self.metrics, self.missing) for pair in by_split.items()]
        return {(split, name) for split, row in kept for name in row}

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """A record from what `to_json` gave.

        Raises:
            StoreError: a newer schema, an unknown status or missing fields.
        """
        data = migrated(data)
        missing = {"key", "status", "config", "seed"} - set(data)
        if missing or data["status"] not in STATUSES:
            raise StoreError(
                f"the record {data.get('key')} is damaged: missing {sorted(missing)}, status {data.get('status')!r}."
            )
        return cls(**{name: value for name, value in data.items() if name in cls.__dataclass_fields__})


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    """Records of version 1 say nothing of their files' hashes."""
    return data | {"files": {}}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
"""{version: what makes the next version's data of it}. One entry for every version before the present one."""


def migrated(data: dict[str, Any]) -> dict[str, Any]:
    """The data of a record as the present version has it. Files are not rewritten by reading them.

    Raises:
        StoreError: no version that this program knows.
    """
    version = data.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version > SCHEMA_VERSION:
        raise StoreError(
            f"the record {data.get('key')} has schema version {version}, this program reads up to "
            f"{SCHEMA_VERSION}: update repro."
        )
    while version < SCHEMA_VERSION:
        if version not in MIGRATIONS:
            raise StoreError(f"the record {data.get('key')} is damaged: there never was a schema version {version}.")
        data = MIGRATIONS[version](data)
        version += 1
    return data | {"schema_version": SCHEMA_VERSION}


def with_checksum(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a record's file holds: its data, and a hash of all of it."""
    plain = {name: value for name, value in data.items() if name != CHECKSUM}
    return plain | {CHECKSUM: hashlib.sha256(json_text(plain).encode()).hexdigest()}
