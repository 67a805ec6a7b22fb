"""The fault suite in short: each fault a few times, into real processes; `make faults` does it many times."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repro.store.record import with_checksum
from scripts.faults import disks, inputs, kills, stores, sweeps, trackers
from scripts.faults.registry import SCENARIOS
from scripts.faults.result import Result, as_json, table, with_table
from scripts.faults.trials import TRIALS, Place, difference, outcome, place

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.smoke

_WANTED = bool(os.environ.get("REPRO_LONG_TESTS"))
LONG = pytest.mark.skipif(not _WANTED, reason="half a minute of kills: REPRO_LONG_TESTS=1, or make faults")


def times(always: int, long: int) -> int:
    """How often a fault is injected: in every run of the tests, and with REPRO_LONG_TESTS."""
    return long if _WANTED else always


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    logging.disable(logging.WARNING)
    with place(tmp_path_factory.mktemp("faults"), seed=7) as found:
        yield found
    logging.disable(logging.NOTSET)


def sound(result: Result, least: int = 1) -> None:
    if not result.injected and result.note:
        pytest.skip(result.note)
    assert result.lost == 0, result
    assert result.injected >= least and result.recovered == result.injected


@pytest.mark.parametrize(
    "trial", [pytest.param(name, marks=() if name == next(iter(TRIALS)) else LONG) for name in TRIALS]
)
def test_killed_at_random_changes_of_files_a_trial_ends_bit_equal(at, trial):
    number = times(3, 10)
    (result,) = kills.at_random_changes(at, number, (trial,))
    sound(result, number)


@LONG
def test_killed_at_random_moments_a_trial_ends_bit_equal(at):
    (result,) = kills.at_random_moments(at, 5, (next(iter(TRIALS)),))
    sound(result, 5)


def test_a_damaged_newest_checkpoint_is_gone_around(at):
    number = times(1, 4)
    for result in kills.damaged_checkpoints(at, number):
        sound(result, number)


def test_64_processes_lose_and_tear_no_record(at):
    turns = times(2, 3)
    sound(stores.storm(at, turns=turns), 64 * turns * 2)


@LONG
def test_nor_do_they_where_writers_are_killed_among_them(at):
    sound(stores.storm(at, turns=4, kills=24))


def test_a_writer_that_dies_at_any_change_leaves_a_whole_record(at):
    sound(stores.half_written(at), 4)


def test_holders_of_locks_that_are_killed(at):
    sound(stores.killed_holders(at, turns=6, kills=4), 2)


def test_one_of_several_gets_a_dead_lock(at):
    sound(stores.dead_locks(at, rounds=5), 5)


def test_clocks_that_jump(at):
    sound(stores.clock_jumps(at, times=1), 2)


def test_damaged_records_are_found(at):
    sound(stores.damaged_records(at), 40)


def test_disks_that_are_full(at):
    sound(disks.full_disk(at, steps=times(2, 4)), times(2, 3))


def test_a_log_on_a_full_disk(at):
    sound(disks.full_disk_under_the_log(at))


def test_a_limit_of_file_sizes(at):
    sound(disks.quota(at, steps=times(1, 2)), times(1, 2))


@LONG
def test_folders_that_may_only_be_read(at):
    sound(disks.read_only(at), 2)


def test_a_tracker_whose_server_is_down(at):
    pytest.importorskip("wandb")
    sound(trackers.dead(at, impatient=not _WANTED))


@LONG
def test_a_command_under_kills_of_all_its_processes_gives_the_same_report(at):
    command = sweeps.SMALL.replace("seed=1,2,3", "seed=1").replace("trainer.steps=120", "trainer.steps=40")
    result = sweeps.under_kills(at, command, "a sweep", 3, every=(1.0, 12.0))
    assert result.lost == 0, result


@LONG
def test_the_miniature_under_kills_gives_the_same_report(at):
    sound(sweeps.miniature(at, "--short", most=6), 3)


@LONG
def test_a_signal_at_a_random_moment(at):
    sound(kills.signals(at, 6), 6)


@LONG
@pytest.mark.parametrize(
    "scenario",
    [inputs.code, inputs.hashes, inputs.broken_files, inputs.secrets, inputs.names, inputs.sentences, inputs.weights]
    + [kills.other_data, sweeps.orphans],
    ids=lambda scenario: scenario.__name__,
)
def test_what_is_read_is_not_trusted(at, scenario):
    results = scenario(at)
    for result in [results] if isinstance(results, Result) else results:
        sound(result)


# The suite itself: what it would call a loss is one ------------------------------------------------------------------


def test_a_lost_or_altered_result_is_seen(at, tmp_path):
    expected, changes = at.undisturbed(next(iter(TRIALS)))
    assert changes > 100 and len(expected) == 4
    source = next(path for path in (at.root / "undisturbed").iterdir() if (path / "calls").is_file())

    def changed(how: Callable[[Path], Any]) -> str:
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        how(folder)
        return difference(outcome(source), outcome(folder))

    def record(folder: Path) -> Path:
        return next((folder / "results").rglob("record.json"))

    def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        data = json.loads(record(folder).read_text())
        change(data)
        record(folder).write_text(json.dumps(data))

    def other_loss(data: dict[str, Any]) -> None:
        data["curve"][0]["train_loss"] += 1e-12

    assert changed(lambda folder: None) == ""
    assert changed(lambda folder: rewrite(folder, lambda data: data["cost"].update(seconds=1.0))) == ""
    assert "curve" in changed(lambda folder: rewrite(folder, other_loss))
    assert "records" in changed(lambda folder: record(folder).unlink())
    assert "prompt" in changed(lambda folder: next(folder.rglob("prompt.safetensors")).write_bytes(b""))
    assert "lock" in changed(lambda folder: (next(folder.rglob("prompt.safetensors")).parent / "lock").write_text(""))


def test_processes_of_a_command_are_found_in_whatever_session(tmp_path):
    """Workers of the miniature have sessions of their own, and outlive a parent that is killed."""
    script = "import subprocess, time; subprocess.Popen(['sleep', '60'], start_new_session=True); time.sleep(60)"
    command = f'{sys.executable} -c "{script}"; true'
    place = Place(tmp_path, None, 1)  # type: ignore[arg-type]
    shell = sweeps._start(command, place.fresh("wild"), place)
    try:
        end = time.monotonic() + 20
        while len(found := sweeps.started(tmp_path / "wild")) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(found) == 3 and shell.pid in found
        shell.kill()
        shell.wait()
        assert sweeps.started(tmp_path / "wild") == [pid for pid in found if pid != shell.pid]
        assert sweeps.started(tmp_path / "wil") == []
    finally:
        sweeps._end(tmp_path / "wild")
    sweeps._wait_for_orphans(tmp_path / "wild", 10)
    assert sweeps.started(tmp_path / "wild") == []


def test_reports_that_differ_are_told_and_times_are_no_difference(at, tmp_path):
    at.undisturbed(next(iter(TRIALS)))
    source = next(path for path in (at.root / "undisturbed").iterdir() if (path / "calls").is_file())
    for name in ("calm", "wild"):
        shutil.copytree(source, tmp_path / name)
    path = next((tmp_path / "wild" / "results").rglob("record.json"))
    record = json.loads(path.read_text())

    def rewrite(**change: Any) -> str:
        path.write_text(json.dumps(with_checksum(record | change)))
        return sweeps._differences(tmp_path / "calm", tmp_path / "wild")

    later = record["provenance"] | {"started": "2020-01-01T00:00:00+00:00", "notes": ["a kill"]}
    assert rewrite(cost=record["cost"] | {"seconds": 9e9}, provenance=later) == ""
    split = next(iter(record["metrics"]))
    worse = {name: value / 2 for name, value in record["metrics"][split].items()}
    assert "report/REPORT.md" in rewrite(metrics=record["metrics"] | {split: worse})
    path.unlink()
    assert sweeps._differences(tmp_path / "calm", tmp_path / "wild")


def test_the_table_and_the_file_say_what_happened():
    results = [Result("disk full", 8, 8, 0), Result("SIGKILL", 1200, 1199, 1, "a sentence")]
    lines = table(results).splitlines()
    assert [line.split()[-3:] for line in (lines[0], lines[2], lines[3], lines[5])] == [
        ["or", "recovered", "lost"], ["8", "8", "0"], ["1,200", "1,199", "1"], ["1,208", "1,207", "1"],
    ]  # fmt: skip
    assert lines[-1] == "SIGKILL: a sentence"
    held = as_json(results, 3, 61.4)
    assert held["seed"] == 3 and held["seconds"] == 61 and held["faults"][1]["lost"] == 1
    assert held["machine"]["cpus"] >= 1 and "hostname" not in json.dumps(held)
    assert len({scenario.promise for scenario in SCENARIOS.values()}) == 10


def test_the_page_shows_the_committed_run():
    """docs/faults.md has the table as results/faults.json gives it, and nothing was lost."""
    held = json.loads((ROOT / "results" / "faults.json").read_text())
    results = [Result(**one) for one in held["faults"]]
    page = (ROOT / "docs" / "faults.md").read_text()
    assert table(results) in page and with_table(page, results) == page
    assert sum(one.lost for one in results) == 0 and sum(one.injected for one in results) > 0
