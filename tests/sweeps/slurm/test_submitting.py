"""What is submitted and what is not, on a Slurm that pretends (`conftest.py`): the real one is in test_on_slurm.py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest import MonkeyPatch

from repro.errors import ConfigError, StoreError, TrialFailed
from repro.store.damage import Damaged
from repro.sweeps.executors.slurm import arrays, failures, queue
from repro.sweeps.executors.slurm import submit as submitting
from repro.sweeps.executors.slurm.arrays import JobArray, all_arrays
from repro.sweeps.executors.slurm.settings import Settings
from repro.sweeps.executors.slurm.submit import Slurm, tasks_of
from repro.trials.spec import TrialSpec
from tests.sweeps.conftest import Capsys, Put, Spec

Submit = Callable[..., list[JobArray]]
SETTINGS = Settings(gpus=0, cpus=1, trials_per_job=1)


@pytest.fixture
def submit(tmp_path: Path) -> Submit:
    """submit(specs, settings, retry) -> the arrays that this made."""

    def make(specs: Sequence[TrialSpec], settings: Settings = SETTINGS, retry: bool = False) -> list[JobArray]:
        before = {array.name for array in all_arrays(tmp_path / "runs")}
        Slurm(settings, retry).run(specs)
        return [array for array in all_arrays(tmp_path / "runs") if array.name not in before]

    return make


def keys(made: list[JobArray]) -> list[list[list[str]]]:
    """Run keys by array and task."""
    return [[[trial.key for trial in task] for task in array.tasks] for array in made]


def test_only_what_nobody_computed_or_is_about_to_is_submitted(
    pretended: Any, spec: Spec, put: Put, submit: Submit, monkeypatch: MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.setattr(queue, "ENDING_SECONDS", 0.2)
    trials = [spec(f"seed={seed}") for seed in range(1, 9)]
    [before] = submit(trials[3:6])
    pretended.queue((before.name, 0, "PENDING"), (before.name, 1, "RUNNING"), (before.name, 2, "COMPLETING"))
    put(trials[0])
    put(trials[1], "collapsed")
    put(trials[2], "failed", reason="the loss became nan")
    failures.note(trials[6].folder, ConfigError("no such thing"), "7_0")
    full = StoreError("cannot write")
    full.__cause__ = OSError(28, "No space left on device")
    failures.note(trials[7].folder, full, "7_1")

    capsys.readouterr()
    # The third of the first array is ending without a record; the disk of the last one may have space again.
    assert keys(submit(trials)) == [[[trials[5].key], [trials[7].key]]]
    assert "2 trials submitted; found 1 collapsed, 1 done, 2 failed, 2 queued" in capsys.readouterr().out

    pretended.queue()
    again = submit(trials, SETTINGS, True)
    assert keys(again) == [[[trial.key] for trial in trials[2:]]]
    first = again[0].tasks[0][0]
    assert first.config["rerun"] is True, "its record says failed: without rerun the job would only say so"


@pytest.mark.parametrize(("then", "submitted"), [("PENDING", False), (None, True)])
def test_a_job_that_is_ending_may_come_back(
    pretended: Any, spec: Spec, submit: Submit, monkeypatch: MonkeyPatch, then: str | None, submitted: bool
) -> None:
    """A job that requeues itself is COMPLETING for a second, as one that was cancelled is."""
    [before] = submit([spec()])
    pretended.queue((before.name, 0, "COMPLETING"))
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        pretended.queue(*([(before.name, 0, then)] if then else []))

    monkeypatch.setattr(queue, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    assert bool(submit([spec()])) == submitted and len(looks) == 1


def test_rerun_of_the_config_is_a_wish_to_try_again(pretended: Any, spec: Spec, put: Put, submit: Submit) -> None:
    trial = spec("rerun=true")
    put(trial, "failed", reason="the loss became nan")
    assert keys(submit([trial])) == [[[trial.key]]]


@pytest.mark.parametrize(("limit", "largest"), [(2, 1001), (1000, 2)])
def test_arrays_are_no_longer_than_the_site_or_the_cluster_allows(
    pretended: Any, spec: Spec, submit: Submit, limit: int, largest: int
) -> None:
    pretended.set("largest", str(largest))
    trials = [spec(f"seed={seed}") for seed in range(1, 6)]
    made = submit(trials, Settings(gpus=0, trials_per_job=1, array_limit=limit, throttle=1))
    assert sorted(len(array.tasks) for array in made) == [1, 2, 2]
    assert {trial.key for array in made for trial in array.trials()} == {trial.key for trial in trials}
    ranges = [line for n in (1, 2, 3) for line in pretended.script(n).splitlines() if "--array" in line]
    assert ranges == ["#SBATCH --array=0-1%1", "#SBATCH --array=0-1%1", "#SBATCH --array=0-0%1"]
    assert {array.job for array in made} == {"1", "2", "3"}


def test_trials_of_a_task_can_train_jointly(spec: Spec) -> None:
    trials = [spec(f"seed={seed}", f"method={name}") for seed in (1, 2) for name in ("p_tuning_v2", "prompt_tuning")]
    names = [[trial.config.method.name for trial in piece] for piece in tasks_of(trials, 2)]
    assert names == [["p_tuning_v2"] * 2, ["prompt_tuning"] * 2]


def test_the_batch_script_has_the_settings_and_nothing_is_pickled(pretended: Any, spec: Spec, submit: Submit) -> None:
    given: dict[str, Any] = {"partition": "gpu", "account": "us", "constraint": "a100", "qos": "long", "mem": "8G"}
    settings = Settings(**given, gpus=2, gpu_type="a100", cpus=3, time="1-00:00:00", signal_seconds=90,
                        setup=["module load cuda"], extra={"nice": 7})  # fmt: skip
    [array] = submit([spec("seed=1"), spec("seed=2")], settings)
    lines = pretended.script(1).splitlines()
    expected = {f"--{name}={value}" for name, value in given.items()} | {"--gres=gpu:a100:2", "--cpus-per-task=3"}
    expected |= {"--time=1-00:00:00", "--signal=USR2@90", "--nice=7", "--requeue", "--open-mode=append"}
    assert {f"#SBATCH {option}" for option in expected} <= set(lines)
    assert lines.index("module load cuda") < next(i for i, line in enumerate(lines) if line.startswith("srun "))
    files = [path for path in array.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".sh"}
    json.loads((array.folder / "array.json").read_text())


def test_an_array_comes_back_as_it_was_and_a_damaged_one_is_refused(
    pretended: Any, spec: Spec, submit: Submit, tmp_path: Path
) -> None:
    [array] = submit([spec("seed=1"), spec("seed=2", "method=prompt_tuning")])

    def submit_others() -> list[JobArray]:
        Slurm(SETTINGS).run([spec("seed=3")])
        arrays = all_arrays(tmp_path / "runs", lambda error: None)
        for made in arrays:
            (made.folder / "array.json").unlink()
        return arrays

    assert arrays.read(array.folder) == array
    assert [trial.spec() for trial in array.trials()] == [
        spec("seed=1"),
        spec("seed=2", "method=prompt_tuning"),
    ]
    for text, message in (
        ('{"version": 2, "tasks": []}', "is damaged"),
        ("[]", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ('{"version": 2, "tasks": [[{"key": 7}]]}', "is damaged"),
        ('{"version": 1, "tasks": []}', "another version"),
    ):
        (array.folder / "array.json").write_text(text)
        with pytest.raises(Damaged, match=message):
            all_arrays(tmp_path / "runs")
        pretended.queue((array.name, 0, "PENDING"))
        with pytest.raises(Damaged, match=message):  # its trials wait, and nobody knows which they are
            submit_others()
        pretended.queue()
        assert len(submit_others()) == 1
    with pytest.raises(ConfigError, match="no such file"):
        arrays.read(tmp_path / "nowhere")


def test_what_was_submitted_before_a_refusal_is_known(
    pretended: Any, spec: Spec, tmp_path: Path, capsys: Capsys
) -> None:
    pretended.set("refuse", "2")
    trials = [spec(f"seed={seed}") for seed in (1, 2, 3)]
    with pytest.raises(ConfigError, match="sbatch refuses"):
        Slurm(Settings(gpus=0, trials_per_job=1, array_limit=1)).run(trials)
    [kept] = all_arrays(tmp_path / "runs")
    assert kept.job == "1" and [trial.key for trial in kept.trials()] == [trials[0].key]
    assert "1 trials submitted" in capsys.readouterr().out


def test_waiting_ends_when_all_have_ended_and_fails_if_one_has_no_score(
    pretended: Any, spec: Spec, put: Put, submit: Submit, monkeypatch: MonkeyPatch, capsys: Capsys
) -> None:
    trials = [spec(f"seed={seed}") for seed in (1, 2)]
    put(trials[0])
    [before] = submit(trials)
    pretended.queue((before.name, 0, "RUNNING"))
    events = iter([lambda: pretended.queue((before.name, 0, "PENDING")), lambda: pretended.queue()])
    monkeypatch.setattr(submitting, "time", SimpleNamespace(sleep=lambda seconds: next(events)()))
    waiting, ended = Slurm(Settings(gpus=0, wait=True)), []
    capsys.readouterr()
    with pytest.raises(TrialFailed, match=rf"1 of 2 trials have no score: {trials[1].key} missing: its job has ended"):
        waiting.run(trials, lambda trial, result: ended.append(trial.key))
    assert ended == [trials[0].key]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["1 done, 1 queued", "1 done, 1 missing"] and not waiting.returns_early
    put(trials[1], "collapsed")
    waiting.run(trials)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (("refuse", "1"), r"invalid partition specified: moon; .*partition moon.*hydra\.launcher\."),
        (("silent", ""), "no Slurm on this machine.*Unable to contact slurm controller"),
        (None, r"no Slurm on this machine.*sbatch, squeue, scontrol: not on its PATH.*leave the launcher out"),
    ],
)
def test_a_refusal_leaves_nothing_behind(
    pretended: Any, spec: Spec, tmp_path: Path, monkeypatch: MonkeyPatch, fault: tuple[str, str] | None, message: str
) -> None:
    if fault is None:
        monkeypatch.setenv("PATH", "/nowhere")
    else:
        pretended.set(*fault)
    with pytest.raises(ConfigError, match=message):
        Slurm(Settings(partition="moon")).run([spec()])
    assert not list(tmp_path.glob("runs/*")) and len(pretended.calls("sbatch")) == (fault == ("refuse", "1"))
