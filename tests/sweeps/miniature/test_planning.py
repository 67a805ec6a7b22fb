"""What is to run: each trial once, not what is done, failed ones again, the longest first."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.errors import DataError
from repro.store.record import Record
from repro.store.store import Store
from repro.sweeps import experiments
from repro.sweeps.expand import Planned
from repro.sweeps.miniature import planning
from repro.sweeps.miniature.page import filled
from repro.trials.spec import TrialSpec
from tests.sweeps.conftest import Spec


def stored(folder: Path, spec: TrialSpec, status: str = "done", seconds: float = 1.0) -> None:
    record = Record(spec.key, status, spec.config.to_dict(), spec.config.seed, cost={"seconds": seconds})
    Store(folder / "records").put(record)


def test_done_is_left_out_failed_is_run_again_and_the_longest_comes_first(spec: Spec, tmp_path: Path) -> None:
    one, two, three, four = (spec(f"seed={seed}") for seed in (1, 2, 3, 4))
    stored(tmp_path / "results", one)
    stored(tmp_path / "results", two, "failed")
    for trial, seconds in ((two, 5.0), (three, 50.0), (four, 20.0)):
        stored(tmp_path / "reference", trial, seconds=seconds)
    trials = [Planned(trial, ()) for trial in (one, two, three, four)]
    jobs = planning.to_run(trials, tmp_path / "results", tmp_path / "reference")
    assert [(job.spec.key, job.seconds) for job in jobs] == [(three.key, 50.0), (four.key, 20.0), (two.key, 5.0)]
    assert all(job.spec.config.rerun for job in jobs)
    unknown = planning.to_run(trials, tmp_path / "results", None)
    assert {job.spec.config.seed for job in unknown} == {2, 3, 4} and all(job.seconds > 0 for job in unknown)


def test_a_trial_is_named_by_what_varies(spec: Spec, tmp_path: Path) -> None:
    words = (
        "method=p_tuning_v2",
        "experiment=mini/length",
        "method.length=4",
        "trainer.threads=1",
        "paths.runs_root=x",
    )
    [job] = planning.to_run([Planned(spec(), words)], tmp_path, None)
    assert job.name == "p_tuning_v2 tiny-bert rte seed 1 (length 4)"


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
