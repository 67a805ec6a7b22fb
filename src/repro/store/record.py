"""The record of one trial: its config, its scores, its cost, and how it differs from the paper.

A report shows nothing but records. A record is small (kept in git), versioned and written atomically by `store.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any, TypedDict, cast

from repro.errors import StoreError
from repro.store.files import json_text
from repro.store.json_types import check_of, checks_of
from repro.store.trial_facts import TrialFacts, group_of

SCHEMA_VERSION = 2
"""1: no `files`, no `checksum` in the file. 2: both."""
CHECKSUM = "checksum"
"""The key under which a record's file holds the hash of everything else in it."""
STATUSES = ("done", "failed", "collapsed")
_NULLABLE = {"statistics": check_of(dict[str, dict[str, list[list[float | None]]]])}
"""Checks of fields that may hold null where a number was not finite."""

Json = dict[str, object]


class NewerSchema(StoreError):
    """A record that a newer program wrote."""


class Selection(TypedDict, total=False):
    """How the checkpoint was chosen; of an ensemble, its members' values."""

    rule: str
    split: str
    metric: str
    value: float | None
    step: int
    epoch: float
    mean: dict[str, float]
    best: dict[str, float]
    members: list[dict[str, Any]]


class DataFacts(TypedDict, total=False):
    """Of one split that a trial read."""

    rows: int
    sha256: str


class WeightFacts(TypedDict, total=False):
    """Of the backbone's weights."""

    location: str
    sha256: str


class GitFacts(TypedDict, total=False):
    """Of the source that ran; None outside a repository."""

    commit: str | None
    dirty: bool | None


class Provenance(TypedDict, total=False):
    """Where a result comes from."""

    git: GitFacts
    packages: dict[str, str | None]
    python: str
    platform: str
    cpus: int | None
    device: str | None
    data: dict[str, DataFacts]
    weights: WeightFacts | None
    command: list[str]
    started: str
    finished: str
    notes: list[str]
    processes: int
    joint_trials: int
    """How many trials trained together; absent where it trained alone."""
    labels: list[str]
    """Classes or tags in id order, where they were read from the data; absent where the config lists them."""


@dataclass
class Record:
    """Everything the report, the claims and a sceptical reader need about one trial.

    Values of metrics are in percent. `collapsed` means that the trial ended but predicts one constant, or nothing.
    """

    key: str
    status: str
    config: dict[str, Any]
    """The resolved config, hydra's own node excluded."""
    seed: int
    reason: str | None = None
    """Why it failed or collapsed, as a sentence."""
    choices: dict[str, str] = field(default_factory=dict)
    """Which file of each config group was chosen."""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """{split: {value name: value}} at the chosen checkpoint; a part of a split has a row too (`test_seen`)."""
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    """{split: {value name: why this machine could not compute it}}: such a value is absent, never 0."""
    selection: Selection = field(default_factory=Selection)
    """How the checkpoint was chosen."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """One row per evaluation: step, epoch, train_loss, learning_rate, {split: {value name: value}}."""
    statistics: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    """{split: {metric name: per-example statistics [N, S]}} at the chosen checkpoint."""
    clusters: dict[str, list[int]] = field(default_factory=dict)
    """{split: the cluster of each example [N]}; no entry where examples are independent (and in older records)."""
    subsets: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """{split: {`<split>_<subset>`: positions of its examples}}; their `statistics` give that row of `metrics`."""
    parameters: dict[str, int] = field(default_factory=dict)
    """trained, stored (what must be kept after training), frozen."""
    cost: dict[str, float] = field(default_factory=dict)
    """seconds, train_seconds, evaluation_seconds, steps, tokens, padded_tokens, peak_memory_bytes, flops."""
    provenance: Provenance = field(default_factory=Provenance)
    """Code, packages, device, data and weights (with hashes), command, times."""
    deviations: list[str] = field(default_factory=list)
    """Every known difference from the paper."""
    files: dict[str, str] = field(default_factory=dict)
    """{file in the trial's folder of runs: SHA-256}: predictions and the prompt, which are too large for a record."""
    schema_version: int = SCHEMA_VERSION

    @cached_property
    def trial(self) -> TrialFacts:
        """What the config says, typed. Read once: a config does not change after the trial."""
        return TrialFacts(self.config)

    @property
    def scores(self) -> set[tuple[str, str]]:
        """(split, value name) of every value, missing ones too."""
        return {(split, name) for part in (self.metrics, self.missing) for split, row in part.items() for name in row}

    def to_json(self) -> Json:
        """The record as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Json) -> Record:
        """A record from what `to_json` gave. A value of a metric that was no finite number (null in JSON) is missing.

        Raises:
            StoreError: a newer schema (`NewerSchema`), missing fields, or values of other types; says which.
        """
        data = migrated(data)
        if missing := {"key", "status", "config", "seed"} - set(data):
            raise StoreError(f"is damaged: it has no {', '.join(sorted(missing))}")
        known = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        known |= _finite_metrics(known)
        checks = checks_of(Record) | _NULLABLE
        for name, value in known.items():
            if (place := checks[name](value)) is not None:
                raise StoreError(f"is damaged: {name}{place} holds a value of another type, or no finite number")
        if known["status"] not in STATUSES:
            raise StoreError(f"is damaged: its status is {known['status']!r}")
        if wrong := [name for name in group_of(known.get("files")) if PurePath(name).name != name]:
            raise StoreError(f"is damaged: files names {wrong[0]!r}, which is not in the folder of its trial")
        return cls(**cast(dict[str, Any], known))


def _finite_metrics(data: Json) -> Json:
    """The fields `metrics` and `missing`, if a value of a metric is null."""
    metrics, missing = group_of(data.get("metrics")), group_of(data.get("missing"))
    null = {split: [name for name, value in group_of(row).items() if value is None] for split, row in metrics.items()}
    for split, names in null.items():
        if names:
            row = group_of(metrics[split])
            metrics = metrics | {split: {name: row[name] for name in row if name not in names}}
            absent = dict.fromkeys(names, "it was no finite number")
            missing = missing | {split: group_of(missing.get(split)) | absent}
    return {"metrics": metrics, "missing": missing} if any(null.values()) else {}


def _from_1(data: Json) -> Json:
    """Records of version 1 do not state the hashes of their files."""
    return data | {"files": {}}


MIGRATIONS: dict[int, Callable[[Json], Json]] = {1: _from_1}
"""{version: what makes the next version's data of it}, for every version before the present one."""


def migrated(data: Json) -> Json:
    """The data of a record as the present version has it. Files are not rewritten by reading them.

    Raises:
        StoreError: no version that this program knows; `NewerSchema` where it is newer.
    """
    version = data.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version > SCHEMA_VERSION:
        raise NewerSchema(f"has schema version {version}, this program reads up to {SCHEMA_VERSION}: update repro")
    while version < SCHEMA_VERSION:
        if version not in MIGRATIONS:
            raise StoreError(f"is damaged: there never was a schema version {version}")
        data = MIGRATIONS[version](data)
        version += 1
    return data | {"schema_version": SCHEMA_VERSION}


def with_checksum(data: Mapping[str, object]) -> Json:
    """The content of a record's file: its data, and a hash of all of it."""
    content = {name: value for name, value in data.items() if name != CHECKSUM}
    return content | {CHECKSUM: hashlib.sha256(json_text(content).encode()).hexdigest()}
