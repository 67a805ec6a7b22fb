"""What is to run: each trial once, not what is done, failed ones again, the longest first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.run_key import run_key
from repro.errors import DataError
from repro.store.record import Record
from repro.store.store import Store
from repro.sweeps import experiments
from repro.sweeps.expand import Planned
from repro.sweeps.miniature import planning
from repro.sweeps.miniature.page import filled

Quick = Callable[..., dict[str, Any]]


def trial(plain: dict[str, Any], *overrides: str) -> Planned:
    return Planned(overrides, plain, run_key(plain))


def stored(folder: Path, plain: dict[str, Any], status: str = "done", seconds: float = 1.0) -> None:
    record = Record(run_key(plain), status, plain, plain["seed"], cost={"seconds": seconds})
    Store(folder / "records").put(record)


def test_done_is_left_out_failed_is_run_again_and_the_longest_comes_first(quick: Quick, tmp_path: Path) -> None:
    one, two, three, four = (quick(f"seed={seed}") for seed in (1, 2, 3, 4))
    stored(tmp_path / "results", one)
    stored(tmp_path / "results", two, "failed")
    for plain, seconds in ((two, 5.0), (three, 50.0), (four, 20.0)):
        stored(tmp_path / "reference", plain, seconds=seconds)
    trials = [trial(plain) for plain in (one, two, three, four)]
    jobs = planning.to_run(trials, tmp_path / "results", tmp_path / "reference")
    assert [(job.spec.plain["seed"], job.seconds) for job in jobs] == [(3, 50.0), (4, 20.0), (2, 5.0)]
    assert all(job.spec.plain["rerun"] and run_key(dict(job.spec.plain)) == job.key for job in jobs), (
        "rerun is not in the key"
    )
    unknown = planning.to_run(trials, tmp_path / "results", None)
    assert {job.spec.plain["seed"] for job in unknown} == {2, 3, 4} and all(job.seconds > 0 for job in unknown)


def test_a_trial_is_named_by_what_varies_and_its_command_has_no_folders(quick: Quick, tmp_path: Path) -> None:
    words = ("method=p_tuning_v2", "experiment=mini/length", "method.length=4", "trainer.threads=1")
    [job] = planning.to_run([trial(quick(), *words, f"paths.results_root={tmp_path}")], tmp_path, None)
    assert job.name == "p_tuning_v2 tiny-bert rte seed 1 (length 4)"
    assert job.command == ("repro", "run", *words)
    assert job.choices == {"method": "p_tuning_v2", "experiment": "mini/length"}


def test_short_is_one_experiment_and_the_whole_is_all_others() -> None:
    whole = planning.chosen(short=False)
    assert planning.chosen(short=True) == ["mini/short"] and "mini/short" not in whole
    assert {*whole, "mini/short"} == set(experiments.names("mini")) and len(whole) > 3


def test_every_trial_of_the_short_form_is_one_of_the_whole() -> None:
    """So the reference holds it, and a folder with the whole has nothing more to run."""
    whole, short = ({one.key for one in planning.planned(planning.chosen(s), {})} for s in (False, True))
    assert short and short < whole


def test_parts_of_a_page_are_filled_and_all_else_stays() -> None:
    text = "# A\n<!-- from records: cost -->\nold\n<!-- end -->\nkept\n"
    new = filled(text, {"cost": "new\n", "other": "-"})
    assert new == "# A\n<!-- from records: cost -->\nnew\n<!-- end -->\nkept\n"
    assert filled(new, {"cost": "new\n"}) == new
    with pytest.raises(DataError, match="claims"):
        filled("<!-- from records: claims -->\n<!-- end -->", {"cost": ""})
