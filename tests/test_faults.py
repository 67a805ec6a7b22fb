"""The fault suite in short: each fault a few times, into real processes; `make faults` does it many times."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from faults import disks, kills, stores, sweeps, trackers  # noqa: E402
from faults.__main__ import suite  # noqa: E402
from faults.result import Result, as_json, table, with_table  # noqa: E402
from faults.trials import TRIALS, Place, difference, outcome, place  # noqa: E402

pytestmark = [
    pytest.mark.smoke,
    pytest.mark.skipif(
        not os.environ.get("REPRO_LONG_TESTS"), reason="minutes of kills: REPRO_LONG_TESTS=1, or make faults"
    ),
]


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


@pytest.mark.parametrize("trial", TRIALS)
def test_killed_ten_times_at_random_changes_of_files_a_trial_ends_bit_equal(at: Place, trial: str) -> None:
    (result,) = kills.at_random_changes(at, 10, (trial,))
    sound(result, 10)


def test_killed_at_random_moments_a_trial_ends_bit_equal(at: Place) -> None:
    (result,) = kills.at_random_moments(at, 5, (next(iter(TRIALS)),))
    sound(result, 5)


def test_a_damaged_newest_checkpoint_is_gone_around(at: Place) -> None:
    for result in kills.damaged_checkpoints(at, 2):
        sound(result, 2)


def test_64_processes_lose_and_tear_no_record(at: Place) -> None:
    sound(stores.storm(at, turns=3), 64 * 3 * 2)


def test_nor_do_they_where_writers_are_killed_among_them(at: Place) -> None:
    sound(stores.storm(at, turns=4, kills=24))


def test_a_writer_that_dies_at_any_change_leaves_a_whole_record(at: Place) -> None:
    sound(stores.half_written(at), 4)


def test_holders_of_locks_that_are_killed(at: Place) -> None:
    sound(stores.killed_holders(at, turns=6, kills=4))


def test_one_of_several_gets_a_dead_lock(at: Place) -> None:
    sound(stores.dead_locks(at, rounds=5), 5)


def test_clocks_that_jump(at: Place) -> None:
    sound(stores.clock_jumps(at, times=1), 2)


def test_damaged_records_are_found(at: Place) -> None:
    sound(stores.damaged_records(at), 40)


def test_disks_that_are_full(at: Place) -> None:
    sound(disks.full_disk(at, steps=4), 3)


def test_a_log_on_a_full_disk(at: Place) -> None:
    sound(disks.full_disk_under_the_log(at))


def test_a_limit_of_file_sizes(at: Place) -> None:
    sound(disks.quota(at, steps=2), 2)


def test_folders_that_may_only_be_read(at: Place) -> None:
    sound(disks.read_only(at), 2)


def test_a_tracker_whose_server_is_down(at: Place) -> None:
    pytest.importorskip("wandb")
    sound(trackers.dead(at))


def test_a_command_under_kills_of_its_whole_session_gives_the_same_report(at: Place) -> None:
    command = sweeps.SMALL.replace("seed=1,2,3", "seed=1").replace("trainer.steps=120", "trainer.steps=40")
    result = sweeps.under_kills(at, command, every=(1.0, 12.0), most=3)
    assert result.lost == 0, result


# The suite itself: what it would call a loss is one ------------------------------------------------------------------


def test_a_lost_or_altered_result_is_seen(at: Place, tmp_path: Path) -> None:
    import shutil

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


def test_the_table_and_the_file_say_what_happened() -> None:
    results = [Result("disk full", 8, 8, 0), Result("SIGKILL", 1200, 1199, 1, "a sentence")]
    lines = table(results).splitlines()
    assert [line.split()[-3:] for line in (lines[0], lines[2], lines[3], lines[5])] == [
        ["injected", "recovered", "lost"], ["8", "8", "0"], ["1,200", "1,199", "1"], ["1,208", "1,207", "1"],
    ]  # fmt: skip
    assert lines[-1] == "SIGKILL: a sentence"
    held = as_json(results, 3, 61.4)
    assert held["seed"] == 3 and held["seconds"] == 61 and held["faults"][1]["lost"] == 1
    assert held["machine"]["cpus"] >= 1 and "hostname" not in json.dumps(held)
    assert len(suite(1, "true", 1)) == 17


def test_the_page_shows_the_committed_run() -> None:
    """docs/faults.md has the table as results/faults.json gives it, and nothing was lost."""
    held = json.loads((ROOT / "results" / "faults.json").read_text())
    results = [Result(**one) for one in held["faults"]]
    page = (ROOT / "docs" / "faults.md").read_text()
    assert table(results) in page and with_table(page, results) == page
    assert sum(one.lost for one in results) == 0 and sum(one.injected for one in results) > 0
