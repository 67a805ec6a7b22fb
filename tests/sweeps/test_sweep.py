"""`repro sweep` and Hydra's multirun over grids: what is missing runs, what is there does not, votes count once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from repro.cli.commands.sweep import _vote
from repro.sweeps.executors.serial import Serial
from repro.sweeps.experiments import Experiment
from repro.sweeps.sweep import Sweep, ensembles
from tests.sweeps.conftest import Capsys, Cli, Records

pytestmark = pytest.mark.smoke

QUICK = {
    "task.check_rows": "false",
    "task.max_input_length": "48",
    "trainer.epochs": "null",
    "trainer.steps": "2",
    "trainer.batch_size": "4",
    "trainer.evaluate_every": "2",
    "trainer.device": "cpu",
}
CELL = {"method": "prompt_tuning", "model": "tiny-bert", "task": "rte", "method.length": "3"}
CELL |= {"method.initialisation": "sampled_vocabulary"}


@pytest.fixture
def places(data_root: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "paths.data_root": str(data_root),
        "paths.results_root": str(tmp_path / "results"),
        "paths.runs_root": str(tmp_path / "runs"),
    }


def experiment(*grids: dict[str, Any]) -> Experiment:
    """Grids under the name of a file that exists: every value of that file is overridden here."""
    return Experiment("offline/cb", "", tuple(grids))


def sweep(grids: list[Experiment], given: dict[str, str]) -> int:
    return Sweep(grids, given, [], Serial()).run()


def test_missing_trials_run_and_five_prompts_vote(
    places: dict[str, str], records: Records, tmp_path: Path, capsys: Capsys, one_thread: None
) -> None:
    chosen = [experiment(CELL | {"seed": "1,2,3", "ensemble": True}), experiment(CELL | {"seed": "1"})]

    def run() -> None:
        assert sweep(chosen, QUICK | places) == 0
        assert [_vote(members) for members in ensembles(chosen, QUICK | places, [])] == [0]

    run()
    found = records(tmp_path / "results").values()
    members = sorted(record["key"] for record in found if record["config"]["method"]["name"] == "prompt_tuning")
    [vote] = [record for record in found if record["config"]["method"]["name"] == "prompt_ensemble"]
    assert len(members) == 3 and sorted(vote["config"]["method"]["members"]) == members
    assert "already in the store" not in capsys.readouterr().out, "the same trial of two exhibits ran twice"

    before = {path: path.read_bytes() for path in tmp_path.glob("results/records/*/record.json")}
    run()
    assert {path: path.read_bytes() for path in tmp_path.glob("results/records/*/record.json")} == before
    assert capsys.readouterr().out.count("already in the store") == 3


def test_a_failing_trial_stops_no_other_and_shows_in_the_exit_code(
    places: dict[str, str], records: Records, tmp_path: Path, capsys: Capsys, one_thread: None
) -> None:
    grid = CELL | {"task": "squadshifts_new_wiki,rte", "task.format": "pair", "seed": "1"}
    assert sweep([experiment(grid)], QUICK | places) == 2
    assert [record["config"]["task"]["name"] for record in records(tmp_path / "results").values()] == ["rte"]
    assert "squadshifts_new_wiki can be rendered as" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_tried_once(
    places: dict[str, str], records: Records, tmp_path: Path, capsys: Capsys
) -> None:
    gone = {"model.source": "folder", "model.location": str(tmp_path / "gone")}
    assert sweep([experiment(CELL | gone | {"seed": "1,2,3"})], QUICK | places) == 2
    said = capsys.readouterr().err
    assert said.count("no such file or folder") == 2 and "2 more trials were left out for the same reason" in said
    assert records(tmp_path / "results") == {}


def test_prompts_of_a_mixture_are_trained_first(
    places: dict[str, str], records: Records, tmp_path: Path, one_thread: None
) -> None:
    cell = {"method": "p_tuning_v2", "model": "tiny-bert", "method.length": "2"}
    first = {**cell, "task": "mpt_ner_open", **QUICK, "seed": 1}
    assert sweep([experiment(cell | {"task": "conll04", "seed": "1", "after": first})], QUICK | places) == 0
    by_task = {record["config"]["task"]["name"]: record for record in records(tmp_path / "results").values()}
    method = by_task["conll04"]["config"]["method"]
    assert method["start_task"] == "mpt_ner_open" and method["start_sha256"]
    from repro.report.compare.groups import paper_method

    assert paper_method(by_task["conll04"]["config"]) == "p_tuning_v2_multitask"
    assert paper_method(by_task["mpt_ner_open"]["config"]) == "p_tuning_v2"


def test_hydras_multirun_takes_a_union_of_grids(
    cli: Cli, places: dict[str, str], records: Records, tmp_path: Path, one_thread: None
) -> None:
    grids = "[{task: rte, seed: '1,2'}, {task: cb, seed: 1, method: fine_tuning}, {task: rte, model: tiny-roberta}]"
    common = [f"{key}={value}" for key, value in (QUICK | places).items()]
    done = cli("run", "-m", "hydra/sweeper=grids", f"hydra.sweeper.grids={grids}", "hydra.sweeper.models=[bert]",
               "model=tiny-bert", *common)  # fmt: skip
    assert done.code == 0, done.err
    ran = sorted(
        (r["config"]["task"]["name"], r["config"]["method"]["name"], r["seed"])
        for r in records(tmp_path / "results").values()
    )
    # The command line's model replaces the third grid's own, which makes it the first one's first trial.
    assert ran == [("cb", "fine_tuning", 1), ("rte", "p_tuning_v2", 1), ("rte", "p_tuning_v2", 2)]
