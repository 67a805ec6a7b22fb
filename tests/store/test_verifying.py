"""`repro store verify` names each kind of damage with its fix, exit code 1, and finds nothing in a sound store."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from repro.cli.main import main
from repro.config.run_key import run_key
from repro.store.checkpoints import state_text
from repro.store.files import sha256_file, write_atomic, write_json_atomic
from repro.store.lock import Lock, Owner
from repro.store.processes import short_table
from repro.store.record import Record, with_checksum
from repro.store.store import Store
from repro.store.verifying import Problem, verify

DEAD = 4_194_304 + 17  # beyond the largest pid of Linux


def keyed(seed: int, **fields: Any) -> Record:
    config = {"seed": seed, "task": {"name": "rte"}, "method": {"name": "m"}, "trainer": {}, "model": {}}
    return Record(run_key(config), "done", config, seed, **fields)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with results and runs of two sound trials and a checkpoint of a third."""
    store = Store(tmp_path / "results" / "records")
    for seed in (1, 2):
        one = keyed(seed, metrics={"validation": {"accuracy": 60.0 + seed}})
        folder = tmp_path / "runs" / one.key
        for name in ("prompt.safetensors", "predictions-validation.jsonl"):
            write_atomic(folder / name, f"{name} {seed}")
            one.files[name] = sha256_file(folder / name)
        store.put(one)
    checkpoint = tmp_path / "runs" / keyed(3).key / "checkpoint"
    for name, step in (("state-before.json", 1), ("state.json", 2)):
        tensors = f"step-{step}.safetensors"
        write_atomic(checkpoint / tensors, f"tensors {step}")
        hashes = {tensors: sha256_file(checkpoint / tensors)}
        write_atomic(checkpoint / name, state_text({"step": step}, tensors, None, hashes))
    return tmp_path


def problems(place: Path) -> tuple[Problem, ...]:
    return verify(place / "results", place / "runs").problems


def test_a_sound_store_has_no_problem_and_is_not_touched(place: Path, cli: Callable[..., Any]) -> None:
    def state() -> dict[str, Any]:
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in place.rglob("*") if p.is_file()}

    before = state()
    done = cli("store", "verify")
    assert (done.code, done.err) == (
        0,
        "",
    ) and done.out == "2 records in results/records, 3 folders in runs: no problem\n"
    assert state() == before
    assert cli("store", "verify", "--results", "nowhere", "--runs", "nowhere").code == 0
    assert not (place / "nowhere").exists()


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def rewrite(path: Path, **fields: Any) -> None:
    """As if the program had written it."""
    write_json_atomic(path, with_checksum(json.loads(path.read_text()) | fields))


def forged(path: Path, age: float = 0.0, **other: Any) -> None:
    path.write_text(json.dumps(asdict(replace(Owner.here(), **other))))
    os.utime(path, (time.time() - age,) * 2)


def record(place: Path) -> Path:
    return place / "results" / "records" / keyed(1).key / "record.json"


def run_of(place: Path) -> Path:
    return place / "runs" / keyed(1).key


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def old(path: Path, seconds: float) -> None:
    path.write_text("x")
    os.utime(path, (time.time() - seconds,) * 2)


def both_states(place: Path) -> None:
    for path in (place / "runs" / keyed(3).key / "checkpoint").glob("step-*"):
        flip(path)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "torn": (lambda p: record(p).write_text(record(p).read_text()[:-9]), "is damaged: it is not JSON", "git checkout"),
    "empty": (lambda p: record(p).write_text(""), "is damaged: it is not JSON", "run the trial again"),
    "binary": (lambda p: record(p).write_bytes(b"\x00\x01"), "is damaged: it is not JSON", "git checkout"),
    "a merge of git": (
        lambda p: record(p).write_text("<<<<<<<\n" + record(p).read_text()), "is damaged: it is not JSON", "checkout",
    ),
    "no version": (lambda p: change(record(p), schema_version=None), "has schema version None", "update repro"),
    "no seed": (
        lambda p: record(p).write_text(json.dumps({k: v for k, v in json.loads(record(p).read_text()).items()
                                                   if k != "seed"})), "it has no seed", "checkout",
    ),
    "no record": (lambda p: record(p).write_text("[]"), "it holds a list, not a record", "git checkout"),
    "wrong key": (lambda p: rewrite(record(p), key="0" * 16), "holds the record of 0000000000000000", "git checkout"),
    "edited": (
        lambda p: change(record(p), metrics={"validation": {"accuracy": 99.0}}), "checksum does not match", "checkout",
    ),
    "edited, checksum taken out": (
        lambda p: record(p).write_text(json.dumps({k: v for k, v in json.loads(record(p).read_text()).items()
                                                   if k != "checksum"})), "has no checksum", "checkout",
    ),
    "version 1, config edited": (
        lambda p: record(p).write_text(json.dumps(
            {k: v for k, v in json.loads(record(p).read_text()).items() if k not in ("checksum", "files")}
            | {"schema_version": 1, "config": {"seed": 7, "task": {}, "method": {}, "trainer": {}, "model": {}}})),
        "its config belongs to the key", "git checkout",
    ),
    "unknown version": (lambda p: change(record(p), schema_version=99), "has schema version 99", "update repro"),
    "status": (lambda p: change(record(p), status="fine"), "status is 'fine'", "git checkout"),
    "missing record": (lambda p: record(p).unlink(), "is missing", "rmdir"),
    "missing file": (
        lambda p: (run_of(p) / "prompt.safetensors").unlink(), "is missing, and the record names it", "bring prompt",
    ),
    "changed file": (
        lambda p: flip(run_of(p) / "predictions-validation.jsonl"), "checksum is not the one in the record", "bring",
    ),
    "temporary file of a dead writer": (
        lambda p: (record(p).parent / f".record.json.{DEAD}-{short_table()}-0123456789ab.tmp").write_text("{"),
        "of a writer that was killed", "rm '",
    ),
    "old temporary file of another machine": (
        lambda p: old(record(p).parent / ".record.json.5-00000000-0123456789ab.tmp", 4000),
        "of a writer that was killed", "rm '",
    ),
    "temporary file from the future": (
        lambda p: old(run_of(p) / ".prompt.safetensors.0123456789ab.tmp", -9999),
        "in the future: a clock jumped", "rm '",
    ),
    "lock of a dead process": (
        lambda p: forged(run_of(p) / "lock", pid=DEAD, process_start=1), "is a stale lock: its holder, process",
        "takes it over",
    ),
    "old lock of another machine": (
        lambda p: forged(run_of(p) / "lock", age=100, process_table="far"), "has not refreshed it for 100 s", "rm '",
    ),
    "lock from the future": (
        lambda p: forged(run_of(p) / "lock", age=-5000, process_table="far"), "s in the future", "takes it over",
    ),
    "conflict": (lambda p: (record(p).parent / "conflict-00.json").write_text("{}"), "another machine's result", "mv"),
    "checkpoint left behind": (
        lambda p: (run_of(p) / "checkpoint").mkdir(), "checkpoint of a trial that is done", "rm -r",
    ),
    "newest checkpoint": (
        lambda p: flip(p / "runs" / keyed(3).key / "checkpoint" / "step-2.safetensors"),
        "(state.json: the checksum of step-2.safetensors does not match); state-before.json is whole",
        "goes on from there",
    ),
    "types": (lambda p: rewrite(record(p), metrics={"test": {"accuracy": "61"}}), "metrics.test", "checkout"),
    "a key twice": (
        lambda p: record(p).write_text(record(p).read_text().replace('"seed": 1', '"seed": 1, "seed": 1')), "twice",
        "checkout",
    ),
    "nested": (lambda p: record(p).write_text("[" * 10_000), "nested", "checkout"),
    "half a character": (lambda p: record(p).write_text('{"a": "\\ud83d"}'), "half of a character", "checkout"),
    "a folder": (lambda p: (record(p).unlink(), record(p).mkdir()), "a folder is where a file should be", "remove"),
    "search": (lambda p: write_atomic(p / "results" / "searches" / "a.json", "[]"), "is damaged", "makes it again"),
    "progress": (lambda p: (run_of(p) / "progress.json").write_text("[]"), "how far a trial is", "rm -r"),
    "lock that is a folder": (lambda p: (run_of(p) / "lock").mkdir(), "a folder is where a file should be", "rm -r"),
    "link out of the records": (
        lambda p: (record(p).parent / "more").symlink_to("/etc/passwd"), "a link that leaves the store", "rm '",
    ),
    "link out of the runs": (
        lambda p: (p / "runs" / "other").symlink_to("/etc"), "a link that leaves the store, to /etc", "rm '",
    ),
    "a nested checkpoint": (
        lambda p: (p / "runs" / keyed(3).key / "checkpoint" / "state.json").write_text("[" * 10_000),
        "state-before.json is whole", "goes on from there",
    ),
    "both checkpoints": (both_states, "there is no whole one before it", "rm -r"),
}  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_each_damage_is_found_and_explained(how: str, place: Path, cli: Callable[..., Any]) -> None:
    harm, what, fix = DAMAGE[how]
    harm(place)
    found = problems(place)
    assert 1 <= len(found) <= 2, found
    assert any(what in one.what and fix in one.fix for one in found), found
    done = cli("store", "verify")
    assert done.code == 1 and done.err == "" and what in done.out and fix in done.out
    assert done.out.splitlines()[-1].endswith(("1 problem", "2 problems"))


def test_what_living_processes_have_is_no_damage(place: Path) -> None:
    """Their locks, and files that they are writing; files of a trial that runs again are not judged meanwhile."""
    (record(place).parent / f".record.json.{os.getpid()}-{short_table()}-0123456789ab.tmp").write_text("{")
    old(record(place).parent / ".record.json.5-00000000-0123456789ab.tmp", 100)
    forged(place / "runs" / keyed(2).key / "lock", age=30, process_table="far")
    with Lock(run_of(place) / "lock"):
        flip(run_of(place) / "prompt.safetensors")
        assert problems(place) == ()
    assert [one.path.name for one in problems(place)] == ["prompt.safetensors"]


def test_a_record_without_its_runs_is_no_damage(place: Path) -> None:
    """Runs are large and not kept in git: a clone has the records alone."""
    assert verify(place / "results", place / "elsewhere").problems == ()


def test_a_name_that_no_terminal_can_show_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["store", "verify", "--results", "caf\udce9"]) == 0
    assert "0 records in caf\\udce9" in capfd.readouterr().out
