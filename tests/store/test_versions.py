"""Records of every schema version stay readable; a version that this program does not know is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from repro.errors import StoreError
from repro.store.record import MIGRATIONS, SCHEMA_VERSION, Record
from repro.store.store import Store
from repro.store.verifying import verify

VERSIONS = Path(__file__).with_name("versions")
"""A record of each version, as that version's program wrote it."""


def test_there_is_a_record_of_every_version_and_a_step_to_the_next() -> None:
    every = set(range(1, SCHEMA_VERSION + 1))
    assert {int(path.name) for path in VERSIONS.iterdir()} == every
    assert set(MIGRATIONS) == every - {SCHEMA_VERSION}


@pytest.fixture(params=range(1, SCHEMA_VERSION + 1))
def placed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict, Path]:
    """A record of one version in a store: its data, and the results folder."""
    source = VERSIONS / str(request.param) / "record.json"
    data = json.loads(source.read_text())
    assert data["schema_version"] == request.param
    target = tmp_path / "results" / "records" / data["key"] / "record.json"
    target.parent.mkdir(parents=True)
    shutil.copy(source, target)
    return data, tmp_path / "results"


def test_a_record_of_any_version_is_read_whole_found_good_and_not_rewritten(placed: tuple[dict, Path]) -> None:
    data, results = placed
    store = Store(results / "records")
    path = store.path(data["key"])
    before = path.read_bytes()
    found = store.get(data["key"])
    assert found is not None and found.schema_version == SCHEMA_VERSION
    kept = found.to_json()
    assert {name: kept[name] for name in data if name in kept and name != "schema_version"} == {
        name: value for name, value in data.items() if name not in ("schema_version", "checksum")
    }
    assert next(iter(store.records(statistics=False))).metrics == found.metrics
    assert verify(results, results / "runs").problems == ()
    assert path.read_bytes() == before


def test_written_again_it_is_of_the_present_version_with_the_same_content(placed: tuple[dict, Path]) -> None:
    data, results = placed
    store = Store(results / "records")
    found = store.get(data["key"])
    assert found is not None
    written = json.loads(store.put(found).read_text())
    assert written["schema_version"] == SCHEMA_VERSION and len(written["checksum"]) == 64
    assert store.get(data["key"]) == found and verify(results, results / "runs").problems == ()


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99, None, "2", True, 1.0])
def test_an_unknown_version_is_refused_with_the_fix(version: object) -> None:
    data = Record("a", "done", {}, 1).to_json() | {"schema_version": version}
    with pytest.raises(StoreError, match=rf"^has schema version {version}, .* up to 2: update repro"):
        Record.from_json(data)


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_never_was_is_damage(version: int) -> None:
    with pytest.raises(StoreError, match="damaged: there never was a schema version"):
        Record.from_json(Record("a", "done", {}, 1).to_json() | {"schema_version": version})
