"""What is read is what was written, with values of the expected types; one damaged file never hides the others."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from repro.store import lock, progress
from repro.store.damage import Damaged, damage_text, parsed
from repro.store.files import sha256_file, write_atomic, write_json_atomic
from repro.store.record import Record, with_checksum
from repro.store.run_folder import MissingFile, trusted_file
from repro.store.searches import journal
from repro.store.searches.journal import Sampler, Search, Setting
from repro.store.store import Store

RECORD = Record(
    "a",
    "done",
    {"task": {"name": "rte"}, "text": "\U0001f600"},
    1,
    metrics={"validation": {"accuracy": 71.25, "f1": 60.5}},
    statistics={"validation": {"accuracy": [[1.0, 1.0], [0.0, 1.0]]}},
    provenance={"data": {"train": {"rows": 10, "sha256": "ab"}}},
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "records")
    store.put(RECORD)
    return store


def test_no_flipped_bit_and_no_changed_digit_is_read_as_a_result(store: Store) -> None:
    path = store.path("a")
    sound = path.read_bytes()
    generator = random.Random(0)
    changed = []
    for place in range(len(sound)):
        bit = 1 << generator.randrange(8)
        changed.append(sound[:place] + bytes([sound[place] ^ bit]) + sound[place + 1 :])
    for digit in re.finditer(rb"[0-9]", sound):
        other = b"%d" % ((int(digit[0]) + 1) % 10)
        changed.append(sound[: digit.start()] + other + sound[digit.end() :])
    expected = [store.get("a", statistics) for statistics in (False, True)]
    for number, text in enumerate(changed):
        path.write_bytes(text)
        try:
            assert store.get("a", bool(number % 2)) == expected[number % 2]  # white space, say
        except Damaged as error:
            assert error.path == path and error.fix in str(error)


def test_other_line_ends_are_no_damage(store: Store) -> None:
    path = store.path("a")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert store.get("a") == RECORD


DEEP = "[" * 100_000
NOT_JSON = {
    "nested": DEEP + "]" * 100_000,
    "nested 70": '{"a":' * 70 + "1" + "}" * 70,
    "half a character": '{"a": "\\ud83d"}',
    "half, raw": b'{"a": "\xed\xa0\xbd"}',
    "a key twice": '{"a": 1, "a": 2}',
    "NaN": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "binary": b"\x00\x01",
    "empty": "",
}


@pytest.mark.parametrize("how", NOT_JSON)
def test_json_is_read_strictly(how: str) -> None:
    text = NOT_JSON[how]
    with pytest.raises(ValueError):
        parsed(text if isinstance(text, bytes) else text.encode())


def test_whole_characters_and_bytes_of_file_names_are_read() -> None:
    assert parsed(rb'["\ud83d\ude00", "caf\udce9"]') == ["\U0001f600", "caf\udce9"]


WRONG: dict[str, Any] = {
    "metrics": {"validation": {"accuracy": "71"}},
    "statistics": {"validation": {"accuracy": [[1.0], ["1"]]}},
    "config": [],
    "seed": True,
    "curve": {},
    "selection": {"value": "high"},
    "provenance": {"data": {"train": {"rows": "ten"}}},
    "deviations": "none",
    "cost": {"steps": None},
    "files": {"../../prompt.safetensors": "ab"},
    "choices": {"method": 1},
    "reason": 5,
}


@pytest.mark.parametrize("field", WRONG)
def test_values_of_other_types_are_damage_also_with_a_right_checksum(store: Store, field: str) -> None:
    write_json_atomic(store.path("a"), with_checksum(RECORD.to_json() | {field: WRONG[field]}))
    with pytest.raises(Damaged, match=field):
        store.get("a")


def test_a_number_too_large_is_damage(store: Store) -> None:
    text = json.dumps(with_checksum(RECORD.to_json())).replace("71.25", "1e999")
    store.path("a").write_text(text)
    with pytest.raises(Damaged, match=r"metrics\.validation\.accuracy"):
        store.get("a")


def test_a_metric_that_was_no_finite_number_is_missing(store: Store) -> None:
    store.put(Record("b", "done", {}, 1, metrics={"test": {"perplexity": float("inf"), "loss": 2.0}}))
    record = store.get("b")
    assert record is not None and record.metrics == {"test": {"loss": 2.0}}
    assert record.missing == {"test": {"perplexity": "it was no finite number"}}


def test_damaged_files_are_listed_and_the_others_read(store: Store) -> None:
    for key in "bcd":
        store.put(Record(key, "done", {}, 1))
    store.path("b").write_text(DEEP)
    store.path("c").unlink()
    store.path("c").mkdir()
    damaged: list[Damaged] = []
    assert [record.key for record in store.records(on_damage=damaged.append)] == ["a", "d"]
    assert [error.path for error in damaged] == [store.path("b"), store.path("c")]
    text = damage_text(damaged)
    assert text.startswith("2 damaged files are left out") and all(str(error) in text for error in damaged)
    assert damage_text([]) == ""
    assert [record.key for record in store.records(prefix="d")] == ["d"]


def search(**fields: Any) -> dict[str, Any]:
    setting = {"number": 0, "values": {"a": "1"}, "keys": ["k"], "refused": None}
    return {
        **{"name": "s", "experiment": None, "fixed": [], "space": {"a": "1,2"}, "seeds": [1], "direction": "maximize"},
        **{"sampler": {"name": "tpe", "seed": 0, "startup": 10}, "settings": [setting], "version": 1},
    } | fields


BAD_SEARCHES: dict[str, Any] = {
    "list": [],
    "newer": search(version=2),
    "version": search(version="1"),
    "settings": search(settings={"0": 1}),
    "setting": search(settings=[{"number": "0", "values": {}}]),
    "keys": search(settings=[{"number": 0, "values": {}, "keys": "k"}]),
    "seeds": search(seeds=["1"]),
    "unknown": search(more=1),
    "sampler": search(sampler=None),
}


@pytest.mark.parametrize("how", BAD_SEARCHES)
def test_a_damaged_search_is_listed_and_the_others_read(tmp_path: Path, how: str) -> None:
    (tmp_path / "searches").mkdir()
    (tmp_path / "searches" / "a.json").write_text(json.dumps(BAD_SEARCHES[how]))
    (tmp_path / "searches" / "b.json").write_text(json.dumps(search()))
    with pytest.raises(Damaged, match=r"a\.json"):
        journal.all_of(tmp_path)
    damaged: list[Damaged] = []
    (found,) = journal.all_of(tmp_path, damaged.append)
    assert found == Search(
        "s", None, [], {"a": "1,2"}, Sampler(), [1], "maximize", settings=[Setting(0, {"a": "1"}, ["k"])]
    )
    assert [error.path.name for error in damaged] == ["a.json"]


SOUND = {"step": 1, "steps": 2, "loss": 0.5, "seconds_per_step": None, "phase": "training", "written": 0.0}
BROKEN: dict[str, str] = {
    "deep": DEEP,
    "empty": "",
    "list": "[]",
    "too little": '{"step": 1}',
    **{
        f"{name} {value!r}": json.dumps(SOUND | {name: value})
        for name, value in {
            "step": "1", "loss": "low", "losses": 5, "losses_every": 0, "score": ["x"], "name": {}, "written": None,
            "steps": -1,
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_progress_file_ends_no_trial(tmp_path: Path, how: str) -> None:
    assert progress.read(tmp_path) is None
    (tmp_path / progress.FILE).write_text(BROKEN[how])
    assert progress.read(tmp_path) is None
    file = progress.ProgressFile(tmp_path, 2)
    file.trained(1, 0.5)
    file.close()
    seen = progress.read(tmp_path)
    assert seen is not None and (seen.step, seen.losses) == (1, [0.5])


@pytest.mark.parametrize("content", [DEEP, '{"pid": true}', '{"host": "\\ud83d"}', "pid", "token", "host"])
def test_a_broken_lock_has_an_unknown_holder(tmp_path: Path, content: str) -> None:
    owner = dict(vars(lock.Owner.here()))
    text = json.dumps(owner | {content: 1.5}) if content in owner else content
    (tmp_path / "lock").write_text(text)
    holder = lock.holder(tmp_path / "lock")
    assert holder is not None and holder.host == "unknown"
    assert not lock.Lock(tmp_path / "lock").acquire(wait=False)


def test_a_lock_that_is_a_folder_has_no_holder(tmp_path: Path) -> None:
    assert lock.holder(tmp_path) is None


def test_a_file_of_a_trial_is_the_one_that_its_record_names(tmp_path: Path) -> None:
    write_atomic(tmp_path / "prompt.safetensors", "tensors")
    record = Record("a", "done", {}, 1, files={"prompt.safetensors": sha256_file(tmp_path / "prompt.safetensors")})
    assert trusted_file(record, tmp_path, "prompt.safetensors") == tmp_path / "prompt.safetensors"
    write_atomic(tmp_path / "prompt.safetensors", "tensorz")
    with pytest.raises(Damaged, match="checksum"):
        trusted_file(record, tmp_path, "prompt.safetensors")
    (tmp_path / "prompt.safetensors").unlink()
    with pytest.raises(MissingFile, match="rerun=true"):
        trusted_file(record, tmp_path, "prompt.safetensors")
    with pytest.raises(Damaged, match="no hash"):
        trusted_file(record, tmp_path, "predictions-test.jsonl")


def test_half_a_character_ends_no_writing(tmp_path: Path) -> None:
    write_atomic(tmp_path / "page.md", "caf\udce9")
    assert (tmp_path / "page.md").read_text() == "caf\\udce9"
