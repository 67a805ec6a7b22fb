"""Trials and records that tests of sweeps share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.schema import TrialConfig
from repro.store.record import Record
from repro.trials.spec import TrialSpec, trial_spec

Arguments = Callable[..., list[str]]
Capsys = pytest.CaptureFixture[str]
Cli = Callable[..., Any]
Start = Callable[..., Any]
Spec = Callable[..., TrialSpec]
Put = Callable[..., None]
Records = Callable[[Path], dict[str, dict[str, Any]]]


@pytest.fixture
def spec(quick: Callable[..., dict[str, Any]]) -> Spec:
    """spec(*overrides) -> a two-step trial that writes into the test's folder."""

    def make(*overrides: str) -> TrialSpec:
        return trial_spec(TrialConfig.from_dict(quick(*overrides)), {"model": "tiny-bert"}, overrides)

    return make


@pytest.fixture
def put() -> Put:
    """put(spec, status, **fields): a record of a trial in its store."""

    def write(spec: TrialSpec, status: str = "done", **fields: Any) -> None:
        spec.store.put(Record(spec.key, status, spec.config.to_dict(), spec.config.seed, **fields))

    return write


@pytest.fixture
def records() -> Records:
    """records(results folder) -> {run key: the record's file}."""

    def read(folder: Path) -> dict[str, dict[str, Any]]:
        found = [json.loads(path.read_text()) for path in sorted(folder.glob("records/*/record.json"))]
        return {record["key"]: record for record in found}

    return read
