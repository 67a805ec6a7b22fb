"""The store: what was put comes back, damage is named, nothing is created by reading."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import repro
from repro.errors import StoreError
from repro.store.record import STATUSES, Record
from repro.store.store import Store

TEXT = st.text(max_size=8)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=8,
)
RECORDS = st.builds(
    Record,
    key=st.text("0123456789abcdef", min_size=16, max_size=16),
    status=st.sampled_from(STATUSES),
    config=st.dictionaries(TEXT, PLAIN, max_size=2),
    seed=st.integers(),
    reason=st.none() | TEXT,
    metrics=st.dictionaries(TEXT, st.dictionaries(TEXT, NUMBER, max_size=2), max_size=2),
    curve=st.lists(st.dictionaries(TEXT, PLAIN, max_size=2), max_size=2),
    statistics=st.dictionaries(
        TEXT, st.dictionaries(TEXT, st.lists(st.lists(NUMBER, max_size=2), max_size=2), max_size=2), max_size=2
    ),
    parameters=st.dictionaries(TEXT, st.integers(min_value=0), max_size=2),
    cost=st.dictionaries(TEXT, NUMBER, max_size=2),
    provenance=st.dictionaries(TEXT, PLAIN, max_size=2),
    deviations=st.lists(TEXT, max_size=2),
)


def record(key: str = "aa", **other) -> Record:
    return Record(**{"key": key, "status": "done", "config": {"task": {"name": "rte"}}, "seed": 1} | other)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "records")


# A record has many fields: on a busy machine drawing one may be slow, which says nothing about the store.
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS)
def test_round_trip(tmp_path_factory, one):
    store = Store(tmp_path_factory.getbasetemp() / "round_trip")
    path = store.put(one)
    assert path == store.root / one.key / "record.json"
    assert store.get(one.key) == one
    store.delete(one.key)


def test_reading_creates_nothing(store):
    assert store.get("aa") is None
    assert list(store.records()) == []
    assert store.delete("aa") is False
    assert not store.root.exists()


def test_records_are_sorted_and_other_files_ignored(store):
    for key in ("b", "a", "c"):
        store.put(record(key))
    (store.root / "README").write_text("not a folder")
    (store.root / "d").mkdir()
    (store.root / "a" / ".record.json.0123.tmp").write_text("left by a killed writer")
    assert [one.key for one in store.records()] == ["a", "b", "c"]


def test_delete(store):
    store.put(record("a"))
    store.put(record("b"))
    (store.root / "b" / "note.txt").write_text("mine")
    assert store.delete("a") is True
    assert store.delete("b") is True
    assert store.get("a") is None
    assert sorted(os.listdir(store.root)) == ["b"]
    assert (store.root / "b" / "note.txt").exists()


@pytest.mark.parametrize("key", ["../aa", "a/b", "..", ".git", "", "a b", "a\n"])
def test_keys_cannot_leave_the_store(store, key):
    for use in (store.get, store.delete, lambda key: store.put(record(key))):
        with pytest.raises(StoreError, match="not a run key"):
            use(key)
    assert not store.root.exists()


def test_older_fields_are_optional_and_unknown_ones_ignored(store):
    store.root.mkdir()
    store.path("a").parent.mkdir()
    data = {"key": "a", "status": "done", "config": {}, "seed": 1, "schema_version": 1, "surprise": 1}
    store.path("a").write_text(json.dumps(data))
    assert store.get("a") == Record(key="a", status="done", config={}, seed=1)


def test_a_file_in_place_of_the_store(tmp_path):
    (tmp_path / "records").write_text("")
    store = Store(tmp_path / "records")
    for use in (lambda: store.put(record()), lambda: store.get("aa"), lambda: list(store.records())):
        with pytest.raises(StoreError, match="a file is where a folder should be"):
            use()


def test_a_killed_writer_leaves_the_old_record(store):
    old = record("a", metrics={"test": {"accuracy": 50.0}})
    store.put(old)
    code = """
        import os, sys, time
        from repro.store.store import Store
        def wait(*_):
            print("written", flush=True)
            time.sleep(60)
        os.replace = wait
        store = Store(sys.argv[1])
        record = store.get("a")
        record.metrics = {}
        store.put(record)
    """
    environment = os.environ | {"PYTHONPATH": str(Path(repro.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(code), str(store.root)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(store.records()) == [old]
    new = replace(old, seed=2)
    store.put(new)
    assert list(store.records()) == [new]


@given(RECORDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_records_without_statistics_are_the_records_less_their_statistics(tmp_path_factory, one):
    store = Store(tmp_path_factory.mktemp("store"))
    store.put(one)
    assert list(store.records(statistics=False)) == [replace(next(store.records()), statistics={})]


def test_a_record_in_another_form_is_read_whole_where_its_statistics_cannot_be_cut_out(store):
    one = Record("0" * 16, "done", {"a": '\n "statistics": '}, 1, statistics={"test": {"f1": [[1.0]]}})
    path = store.put(one)
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert list(store.records()) == [one]
    assert list(store.records(statistics=False)) == [replace(one, statistics={})]


def test_has_records(store):
    assert not store.has_records()
    (store.root / "0123456789abcdef").mkdir(parents=True)
    assert not store.has_records()
    store.put(Record("1" * 16, "done", {}, 1))
    assert store.has_records()
