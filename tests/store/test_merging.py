"""`repro store merge`: nothing is lost, whichever side has what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.errors import StoreError
from repro.store.merging import compared, merge
from repro.store.record import Record
from repro.store.store import Store

EARLIER, LATER = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"


def made(score: float = 60.0, key: str = "aa", finished: str = EARLIER, **fields: Any) -> Record:
    defaults: dict[str, Any] = {
        "metrics": {"test": {"accuracy": score}},
        "statistics": {"test": {"accuracy": [[score]]}},
        "curve": [{"step": 1, "train_loss": 0.5}],
        "provenance": {"finished": finished},
    }
    return Record(key, "done", {"task": {"name": "rte"}}, 1, **(defaults | fields))


def failed(reason: str = "the loss became nan") -> Record:
    return Record("aa", "failed", {}, 1, reason=reason)


def fuller() -> Record:
    """As `repro metrics --score` leaves it."""
    return made(metrics={"test": {"accuracy": 60.0, "f1": 50.0}})


CASES: list[tuple[str, Record, Record, str]] = [
    ("the same", made(), made(), "same"),
    ("the same from another machine", made(), made(finished=LATER, cost={"seconds": 9.0}), "same"),
    ("failed there", made(), failed(), "ours"),
    ("failed here", failed(), made(), "theirs"),
    ("failed alike", failed(), failed(), "same"),
    ("failed otherwise", failed(), failed("out of memory"), "conflict"),
    ("fuller here", fuller(), made(), "ours"),
    ("fuller there", made(), fuller(), "theirs"),
    ("other score", made(), made(61.0), "conflict"),
    ("other curve", made(), made(curve=[{"step": 1, "train_loss": 0.4}]), "conflict"),
    ("each has what the other lacks", fuller(), made(metrics={"test": {"accuracy": 60.0, "bleu": 1.0}}), "conflict"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ours", "theirs", "expected"), CASES, ids=[case[0] for case in CASES])
def test_the_rule(name: str, ours: Record, theirs: Record, expected: str, tmp_path: Path) -> None:
    assert compared(ours, theirs) == expected
    here, there = Store(tmp_path / "here" / "records"), Store(tmp_path / "there" / "records")
    here.put(ours)
    there.put(theirs)
    merged = merge([tmp_path / "there"], tmp_path / "here")
    kept = here.get("aa")
    assert kept == (theirs if expected == "theirs" else ours)
    aside = list((tmp_path / "here" / "records" / "aa").glob("conflict-*.json"))
    assert len(aside) == merged.open == (expected == "conflict")
    for path in aside:
        assert Record.from_json(json.loads(path.read_text())) == theirs, "what is not kept is not lost"
    assert len(merged.lines) == (expected != "same")
    assert there.get("aa") == theirs, "the source is as it was"
    again = merge([tmp_path / "there"], tmp_path / "here")
    assert len(list((tmp_path / "here" / "records" / "aa").glob("conflict-*.json"))) == len(aside) == again.open


def test_a_tuple_equals_the_list_that_a_file_gives(tmp_path: Path) -> None:
    assert compared(made(curve=({"step": 1, "train_loss": 0.5},)), made()) == "same"


@pytest.mark.parametrize("there_is_newer", [True, False])
def test_newer_takes_the_one_that_finished_later_and_keeps_the_other_aside(
    there_is_newer: bool, tmp_path: Path
) -> None:
    early, late = made(60.0), made(61.0, finished=LATER)
    ours, theirs = (early, late) if there_is_newer else (late, early)
    here, there = Store(tmp_path / "here" / "records"), Store(tmp_path / "there" / "records")
    here.put(ours)
    there.put(theirs)
    assert merge([tmp_path / "there"], tmp_path / "here", "newer").counts == {"conflict": 1}
    assert here.get("aa") == late
    [aside] = (tmp_path / "here" / "records" / "aa").glob("conflict-*.json")
    assert Record.from_json(json.loads(aside.read_text())) == early


def test_several_machines_give_one_store_with_all_their_records(tmp_path: Path, cli: Callable[..., Any]) -> None:
    expected = {}
    for machine in range(3):
        for number in range(4):
            one = made(float(number), key=f"k{machine + number}")
            Store(tmp_path / f"machine{machine}" / "records").put(one if number else made(7.0, key=f"k{machine}-own"))
    for machine in range(3):
        for one in Store(tmp_path / f"machine{machine}" / "records").records():
            expected.setdefault(one.key, []).append(one)
    done = cli("store", "merge", "machine0", "machine1", "machine2/records", "--results", "all")
    assert done.code == 1 and done.err == ""
    assert {one.key for one in Store(tmp_path / "all" / "records").records()} == set(expected)
    for key, versions in expected.items():
        folder = tmp_path / "all" / "records" / key
        held = [json.loads(path.read_text()) for path in folder.iterdir()]
        values = {json.dumps(one["metrics"]) for one in held}
        assert values == {json.dumps(one.metrics) for one in versions}, "every result is in the record or beside it"
    assert cli("store", "verify", "--results", "all").code == 1  # the conflicts stay open
    assert "another machine's result" in cli("store", "verify", "--results", "all").out


def test_damage_is_said_and_the_others_are_merged(tmp_path: Path, cli: Callable[..., Any]) -> None:
    there, here = Store(tmp_path / "there" / "records"), Store(tmp_path / "results" / "records")
    for key in ("a", "b", "c"):
        there.put(made(key=key))
    here.put(made(key="c"))
    there.path("a").write_text("{")
    here.path("c").write_text("{")
    done = cli("store", "merge", "there")
    assert done.code == 1
    assert done.out.count("is damaged") == 2 and str(there.path("a")).removeprefix(f"{tmp_path}/") in done.out
    assert here.get("b") == made(key="b") and here.get("a") is None
    assert here.path("c").read_text() == "{", "what is there and cannot be read is not overwritten"


def test_a_newer_schema_is_not_taken(tmp_path: Path) -> None:
    there = Store(tmp_path / "there" / "records")
    path = there.put(made())
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 3'))
    merged = merge([tmp_path / "there"], tmp_path / "here")
    assert merged.counts == {"damaged": 1} and "update repro" in merged.lines[0]


@pytest.mark.parametrize(("source", "said"), [("nowhere", "no such folder"), ("results", "folder to merge into")])
def test_wrong_folders_are_refused(source: str, said: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    Store(tmp_path / "results" / "records").put(made())
    done = cli("store", "merge", source)
    assert done.code == 2 and said in done.err and done.err.count("\n") == 1
    with pytest.raises(StoreError, match=said):
        merge([tmp_path / source], tmp_path / "results")
