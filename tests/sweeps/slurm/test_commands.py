"""The commands around jobs: Hydra's launcher, `repro sweep --launcher slurm`, `--resume`, `repro status`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pytest import MonkeyPatch

from repro.config import compose
from repro.store.lock import Lock
from repro.store.progress import ProgressFile
from repro.sweeps.executors.slurm.arrays import SubmittedTrial, all_arrays
from tests.sweeps.conftest import Arguments, Cli, Put, Start

NO_GPU = ("hydra.launcher.gpus=0", "hydra.launcher.trials_per_job=2")


def tasks(folder: Path) -> list[list[SubmittedTrial]]:
    """The trials of every task, array by array."""
    return [list(task) for array in all_arrays(folder / "runs") for task in array.tasks]


def trials_of(folder: Path) -> list[SubmittedTrial]:
    return [trial for task in tasks(folder) for trial in task]


def test_a_multirun_is_submitted_as_the_trials_that_run_would_make(
    cli: Cli, pretended: Any, trial_arguments: Arguments, tmp_path: Path
) -> None:
    site = tmp_path / "config" / "repro" / "slurm.yaml"
    site.parent.mkdir(parents=True)
    site.write_text("partition: site\ntime: 90\n")
    words = trial_arguments("seed=1,2,3")
    done = cli("run", "-m", "hydra/launcher=slurm", *NO_GPU, "hydra.launcher.time=5", *words)
    assert done.code == 0, done.err
    assert re.search(r"^1 +2 +3$", done.out, re.MULTILINE) and "3 trials submitted" in done.out
    assert {"#SBATCH --partition=site", "#SBATCH --time=5"} <= set(pretended.script(1).splitlines())
    trials = trials_of(tmp_path)
    assert [len(task) for task in tasks(tmp_path)] == [2, 1]
    here = cli("run", *trial_arguments("seed=2"))
    assert here.code == 0, here.err
    [path] = tmp_path.glob("results/records/*/record.json")
    record = json.loads(path.read_text())
    assert record["key"] == trials[1].key
    assert record["choices"] == trials[1].choices
    assert [word.lower() for word in record["provenance"]["command"]] == [word.lower() for word in trials[1].command]
    again = cli("run", "-m", "hydra/launcher=slurm", *NO_GPU, *words)
    assert re.search("found 1 (done|collapsed)", again.out) and "2 trials submitted" in again.out, (
        "the queue is empty: they were lost"
    )


def test_a_trial_that_cannot_run_is_said_and_the_others_are_submitted(
    cli: Cli, pretended: Any, trial_arguments: Arguments, tmp_path: Path
) -> None:
    words = [word for word in trial_arguments() if not word.startswith("task=")]
    words = [*words, "task=rte,squadshifts_new_wiki", "task.format=pair"]
    done = cli("run", "-m", "hydra/launcher=slurm", *NO_GPU, *words)
    assert done.code == 2
    assert "1 trials submitted" in done.out and "squadshifts_new_wiki can be rendered as" in done.err
    assert [[trial.config["task"]["name"] for trial in task] for task in tasks(tmp_path)] == [["rte"]]


def test_a_second_stage_waits_for_the_first(
    cli: Cli, pretended: Any, trial_arguments: Arguments, tmp_path: Path
) -> None:
    first = "{method: p_tuning_v2, model: tiny-bert, task: cb, seed: 1}"
    grids = f"[{{task: rte, seed: 1, after: {first}}}]"
    words = [word for word in trial_arguments() if not word.startswith("task=")]
    done = cli(
        "run", "-m", "hydra/launcher=slurm", *NO_GPU, "hydra/sweeper=grids", f"hydra.sweeper.grids={grids}", *words
    )
    assert done.code == 0, done.err
    assert "the same command, when the others are done" in done.out
    assert [[trial.config["task"]["name"] for trial in task] for task in tasks(tmp_path)] == [["cb"]]


CELL = ("offline/cb", "model=tiny-bert", "method=prompt_tuning", "trainer.steps=2", "trainer.epochs=null")


def test_an_exhibit_is_submitted_and_what_was_lost_again(cli: Cli, pretended: Any, put: Put, tmp_path: Path) -> None:
    done = cli("sweep", "--launcher", "slurm", *CELL, *NO_GPU, "hydra.launcher.partition=day")
    assert done.code == 0, done.err
    [first, second] = tasks(tmp_path)
    trials = first + second
    assert [trial.config["seed"] for trial in trials] == [1, 2, 3]
    assert {trial.experiment for trial in trials} == {"offline/cb"}
    put(trials[0].spec())
    put(trials[1].spec(), "failed", reason="the loss became nan")
    done = cli("sweep", "--resume", "hydra.launcher.trials_per_job=1")
    assert done.code == 0, done.err
    assert "1 trials submitted; found 1 done, 1 failed" in done.out
    assert "#SBATCH --partition=day" in pretended.script(2), "the settings of before"
    assert [[trial.key for trial in task] for task in tasks(tmp_path)[2:]] == [[trials[2].key]]
    done = cli("sweep", "--resume", "--retry-failed", "offline/cb")
    assert done.code == 0, done.err
    assert [trial.key for task in tasks(tmp_path)[3:] for trial in task] == [trials[1].key, trials[2].key]


def test_a_trial_that_cannot_be_used_is_said_and_the_others_are_resumed(
    cli: Cli, pretended: Any, tmp_path: Path
) -> None:
    cli("sweep", "--launcher", "slurm", *CELL, *NO_GPU)
    [array] = all_arrays(tmp_path / "runs")
    file = array.folder / "array.json"
    file.write_text(file.read_text().replace('"seed": 2', '"seed": 7', 1))
    done = cli("sweep", "--resume")
    assert done.code == 0 and "2 trials submitted" in done.out and "has the key" in done.err
    assert sorted(trial.config["seed"] for trial in all_arrays(tmp_path / "runs")[-1].trials()) == [1, 3]
    file.write_text('{"version": 2, "tasks": 5}')
    shown = cli("status")
    lines = shown.out.splitlines()
    assert shown.code == 1 and "1 damaged file" in lines[0] and str(file.relative_to(tmp_path)) in lines[1]
    assert "2 missing" in shown.out


def test_resuming_here_leaves_out_what_failed(
    cli: Cli, put: Put, pretended: Any, tmp_path: Path, data_root: Path
) -> None:
    quick = (
        "task.check_rows=false",
        "task.max_input_length=48",
        f"paths.data_root={data_root}",
        "trainer.batch_size=4",
    )
    cell = (*CELL, *quick, "trainer.evaluate_every=2", "seed=1,2")
    cli("sweep", "--launcher", "slurm", *cell)  # to learn the keys
    trials = trials_of(tmp_path)
    for array in all_arrays(tmp_path / "runs"):
        (array.folder / "array.json").unlink()
    put(trials[0].spec(), "failed", reason="the loss became nan.")
    done = cli("sweep", "--resume", *cell)
    assert done.code == 0, done.err
    assert "failed before, left out; --retry-failed runs it again" in done.out
    status = {path.parent.name: json.loads(path.read_text())["status"] for path in tmp_path.glob("results/records/*/*")}
    assert status[trials[0].key] == "failed" and status[trials[1].key] in ("done", "collapsed")
    assert cli("sweep", *cell).code == 2, "without --resume a failed trial is an error again"
    assert cli("sweep", "--resume", "--retry-failed", *cell).code == 0
    record = json.loads((tmp_path / "results" / "records" / trials[0].key / "record.json").read_text())
    assert record["status"] in ("done", "collapsed")


def test_status_shows_every_trial(cli: Cli, pretended: Any, put: Put, tmp_path: Path) -> None:
    assert "nothing was submitted" in cli("status").out
    cli("sweep", "--launcher", "slurm", *CELL, *NO_GPU, "trainer.optimiser.learning_rate=0.1,0.2")
    trials = trials_of(tmp_path)
    [array] = all_arrays(tmp_path / "runs")
    name = array.name
    pretended.queue((name, 1, "RUNNING"), (name, 2, "PENDING"))
    specs = [trial.spec() for trial in trials]
    put(specs[0], selection={"split": "validation", "metric": "accuracy", "value": 71.4}, cost={"steps": 2.0})
    put(specs[1], "failed", reason="the loss became nan.")
    folder = tmp_path / "runs" / trials[2].key
    with Lock(folder / "lock"):
        clock = iter([0.0, 0.0, 30.0, 30.0])
        file = ProgressFile(folder, 100, clock.__next__)
        file.trained(1, 0.9)
        file.trained(11, 0.75)
        for words in ((), ("experiment=offline/cb",)):
            done = cli("status", *words)
            assert done.code == 0, done.err
            lines = done.out.splitlines()
            assert lines[0] == "6 trials: 1 running, 3 queued, 1 failed, 1 done"
            by_status = [(line.split()[0], line) for line in lines[3:]]
            assert [status for status, _ in by_status] == ["running", *["queued"] * 3, "failed", "done"]
            running = by_status[0][1]
            assert "prompt_tuning tiny-bert cb seed 2 learning_rate=0.1" in running
            assert "11/100" in running and "0.750" in running and "0:04:27" in running and "7_1" in running
            assert "waits for its turn in job 7_1" in by_status[1][1] and "Priority" in by_status[2][1]
            assert "the loss became nan." in by_status[4][1]
            assert "validation accuracy 71.40" in by_status[5][1]


def test_status_of_many_trials_counts_what_needs_no_eye(cli: Cli, pretended: Any, put: Put, tmp_path: Path) -> None:
    cli("sweep", "--launcher", "slurm", *CELL, *NO_GPU, f"seed=range(1,{62})")
    trial = tasks(tmp_path)[0][0]
    put(trial.spec(), "failed", reason="the loss became nan.")
    done = cli("status")
    assert done.out.startswith("61 trials: 60 missing, 1 failed")
    assert [line.split()[0] for line in done.out.splitlines()[4:]] == ["failed"]
    assert cli("status", "--all").out.count("missing") == 61


def test_status_works_where_there_is_no_slurm(cli: Cli, monkeypatch: MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    folder = tmp_path / "runs" / "abc"
    with Lock(folder / "lock"):
        ProgressFile(folder, 100).trained(7, 0.5)
        done = cli("status")
    assert done.code == 0
    assert "1 trials: 1 running" in done.out and "7/100" in done.out and "squeue is not here" in done.out
    assert "1 interrupted" in cli("status").out


def test_an_experiment_that_nobody_submitted_is_listed_and_remembered(
    cli: Cli, pretended: Any, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    first = cli("status", "experiment=offline/cb", "seed=1,2")
    assert first.code == 0, first.err
    assert first.out.startswith("6 trials: 6 missing")

    def fail(*_: Any) -> None:
        raise AssertionError("composed again")

    def composed_again(*words: str) -> bool:
        with monkeypatch.context() as patched:
            patched.setattr("repro.sweeps.experiments.Experiment.planned", fail)
            try:
                assert cli("status", "experiment=offline/cb", *words).out == first.out
            except AssertionError as error:
                return "composed" in str(error)
        return False

    assert not composed_again("seed=1,2") and composed_again("seed=1")
    monkeypatch.setenv("REPRO_DATA_ROOT", "/elsewhere")
    assert composed_again("seed=1,2")
    monkeypatch.delenv("REPRO_DATA_ROOT")
    assert not composed_again("seed=1,2")
    more = tmp_path / "more" / "task" / "other.yaml"
    more.parent.mkdir(parents=True)
    more.write_text("name: other")
    folders = [*compose.conf_dirs(), tmp_path / "more"]
    with monkeypatch.context() as patched:
        patched.setattr(compose, "conf_dirs", lambda: folders)
        assert composed_again("seed=1,2"), "a file of conf/ is new"
    [kept] = (tmp_path / "runs" / "cache" / "lists").iterdir()
    for text in ("[", '{"trials": [["a"]]}', '{"trials": 5}', "[" * 100_000):
        kept.write_text(text)
        assert cli("status", "experiment=offline/cb", "seed=1,2").out == first.out


def test_submitting_and_looking_load_no_torch(python: Start, pretended: Any, trial_arguments: Arguments) -> None:
    words = [*trial_arguments("seed=1,2"), "hydra/launcher=slurm", *NO_GPU]
    code = f"""
import sys
from repro.cli.main import main
assert main(["run", "-m", *{words!r}]) == 0
assert main(["status"]) == 0
assert main(["sweep", "--resume"]) == 0
print([name for name in ("torch", "transformers", "datasets") if name in sys.modules])
"""
    done = python("-c", code)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "[]"
    assert "2 trials: 2 missing" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "-m", "hydra/launcher=slurm", "hydra.launcher.time=soon", "seed=1,2"], "hydra.launcher.time=soon"),
        (["sweep", "--resume"], "nothing was submitted there"),
        (["sweep", *CELL, "hydra.launcher.partition=day"], "go with --launcher slurm"),
        (["status", "a/b"], "no such file"),
        (["status", "seed=1"], "name one experiment"),
    ],
)
def test_what_is_refused(cli: Cli, pretended: Any, words: list[str], said: str) -> None:
    done = cli(*words)
    assert done.code == 2 and said in done.err and pretended.calls("sbatch") == []
