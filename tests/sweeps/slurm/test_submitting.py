"""What is submitted and what is not, on a Slurm that pretends (`conftest.py`): the real one is in test_on_slurm.py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from repro.errors import ConfigError, StoreError, TrialFailed
from repro.sweeps.executors.slurm import failures, submission
from repro.sweeps.executors.slurm import submit as submitting
from repro.sweeps.executors.slurm.chunks import Chunk, cut
from repro.sweeps.executors.slurm.settings import Settings
from repro.sweeps.executors.slurm.submission import Submission
from repro.sweeps.executors.slurm.submit import Submitted, submit

SETTINGS = Settings(gpus=0, cpus=1, trials_per_job=1)


def sent(done: Submitted) -> list[list[list[str]]]:
    """Run keys by array and task, as the files say that the jobs read."""
    if done.submission is None:
        return []
    files = [sorted(done.submission.root.glob(f"array-{n}/[0-9]*.json")) for n in range(len(done.submission.arrays))]
    return [[[trial.key for trial in Chunk.read(file).trials] for file in array] for array in files]


def test_only_what_nobody_computed_or_is_about_to_is_submitted(
    pretended: Any,
    asked: Callable[..., Any],
    put: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submitting, "ENDING_SECONDS", 0.2)
    trials = [asked(f"seed={seed}") for seed in range(1, 9)]
    before = submit(trials[3:6], SETTINGS)
    assert before.submission is not None
    name = before.submission.arrays[0].name
    pretended.queue((name, 0, "PENDING"), (name, 1, "RUNNING"), (name, 2, "COMPLETING"))
    put(trials[0])
    put(trials[1], "collapsed")
    put(trials[2], "failed", reason="the loss became nan")
    failures.note(tmp_path / "runs" / trials[6].key, failures.failure(ConfigError("no such thing"), "7_0"))
    full = StoreError("cannot write")
    full.__cause__ = OSError(28, "No space left on device")
    failures.note(tmp_path / "runs" / trials[7].key, failures.failure(full, "7_1"))

    done = submit(trials, SETTINGS)
    # The third of the first submission is ending without a record; the disk of the last one may have space again.
    assert sent(done) == [[[trials[5].key], [trials[7].key]]]
    found = {trial.key: done.states[trial.key].status for trial in trials}
    assert [found[trial.key] for trial in trials] == [
        *("done", "collapsed", "failed", "queued", "queued", "missing", "failed", "failed")
    ]
    assert "2 trials submitted; found 1 collapsed, 1 done, 2 failed, 2 queued" in done.table()

    pretended.queue()
    again = submit(trials, SETTINGS, retry_failed=True)
    assert sent(again) == [[[trial.key] for trial in trials[2:]]]
    assert again.submission is not None
    first = Chunk.read(again.submission.root / "array-0" / "0.json").trials[0]
    assert first.config["rerun"] is True, "its record says failed: without rerun the job would only say so"


@pytest.mark.parametrize(("then", "submitted"), [("PENDING", False), (None, True)])
def test_of_a_job_that_is_ending_we_wait_to_see_whether_it_comes_back(
    pretended: Any, asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, then: str | None, submitted: bool
) -> None:
    """A job that puts itself back is COMPLETING for a second, as one that was cancelled is."""
    before = submit([asked()], SETTINGS)
    assert before.submission is not None
    name = before.submission.arrays[0].name
    pretended.queue((name, 0, "COMPLETING"))
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        pretended.queue(*([(name, 0, then)] if then else []))

    monkeypatch.setattr(submitting, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    done = submit([asked()], SETTINGS)
    assert len(looks) == 1 and (done.submission is not None) == submitted
    assert done.states[asked().key].status == ("missing" if submitted else "queued")


def test_rerun_of_the_config_is_a_wish_to_try_again(
    pretended: Any, asked: Callable[..., Any], put: Callable[..., None]
) -> None:
    trial = asked("rerun=true")
    put(trial, "failed", reason="the loss became nan")
    assert sent(submit([trial], SETTINGS)) == [[[trial.key]]]


def test_a_trial_that_is_asked_for_twice_is_submitted_once(pretended: Any, asked: Callable[..., Any]) -> None:
    assert sent(submit([asked("seed=1"), asked("seed=1")], SETTINGS)) == [[[asked("seed=1").key]]]


@pytest.mark.parametrize(("limit", "largest"), [(2, 1001), (1000, 2)])
def test_arrays_are_no_longer_than_the_site_or_the_cluster_allows(
    pretended: Any, asked: Callable[..., Any], limit: int, largest: int
) -> None:
    pretended.set("largest", str(largest))
    trials = [asked(f"seed={seed}") for seed in range(1, 6)]
    done = submit(trials, Settings(gpus=0, trials_per_job=1, array_limit=limit, throttle=1))
    assert [len(array) for array in sent(done)] == [2, 2, 1]
    assert [key for array in sent(done) for task in array for key in task] == [trial.key for trial in trials]
    ranges = [line for n in (1, 2, 3) for line in pretended.script(n).splitlines() if "--array" in line]
    assert ranges == ["#SBATCH --array=0-1%1", "#SBATCH --array=0-1%1", "#SBATCH --array=0-0%1"]
    assert done.submission is not None
    assert [array.job for array in done.submission.arrays] == ["1", "2", "3"]


def test_trials_of_a_job_are_alike(asked: Callable[..., Any]) -> None:
    trials = [asked(f"seed={seed}", f"method={name}") for seed in (1, 2) for name in ("p_tuning_v2", "prompt_tuning")]
    pieces = cut(trials, 2)
    assert [[trial.config["method"]["name"] for trial in piece] for piece in pieces] == [
        ["p_tuning_v2"] * 2,
        ["prompt_tuning"] * 2,
    ]


def test_the_batch_script_says_what_the_settings_say(pretended: Any, asked: Callable[..., Any]) -> None:
    given: dict[str, Any] = {"partition": "gpu", "account": "us", "constraint": "a100", "qos": "long", "mem": "8G"}
    settings = Settings(**given, gpus=2, gpu_type="a100", cpus=3, time="1-00:00:00", signal_seconds=90,
                        setup=["module load cuda"], extra={"nice": 7})  # fmt: skip
    submit([asked()], settings)
    lines = pretended.script(1).splitlines()
    expected = {f"--{name}={value}" for name, value in given.items()} | {"--gres=gpu:a100:2", "--cpus-per-task=3"}
    expected |= {"--time=1-00:00:00", "--signal=USR2@90", "--nice=7", "--requeue", "--open-mode=append"}
    assert {f"#SBATCH {option}" for option in expected} <= set(lines)
    assert lines.index("module load cuda") < next(i for i, line in enumerate(lines) if line.startswith("srun "))
    assert not any("wckey" in line for line in lines), "submitit's own name would be refused where wckeys are enforced"


def test_nothing_is_pickled(pretended: Any, asked: Callable[..., Any]) -> None:
    done = submit([asked("seed=1"), asked("seed=2")], SETTINGS)
    assert done.submission is not None
    files = [path for path in done.submission.root.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".sh"}
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text())
    assert "submitit.core" not in pretended.script(1)


def test_a_chunk_comes_back_as_it_was_and_an_edited_one_is_refused(asked: Callable[..., Any], tmp_path: Path) -> None:
    chunk = Chunk((asked("seed=1"), asked("seed=2", "method=prompt_tuning")), "/somewhere")
    path = tmp_path / "0.json"
    chunk.write(path)
    assert Chunk.read(path) == chunk
    path.write_text(path.read_text().replace('"seed": 2', '"seed": 3'))
    with pytest.raises(ConfigError, match=r"another key now.*Submit it again"):
        Chunk.read(path)
    path.write_text("[]")
    with pytest.raises(ConfigError, match="holds no trials"):
        Chunk.read(path)
    with pytest.raises(ConfigError, match="no such file"):
        Chunk.read(tmp_path / "1.json")


def test_a_refusal_leaves_nothing_behind(pretended: Any, asked: Callable[..., Any], tmp_path: Path) -> None:
    pretended.set("refuse", "1")
    with pytest.raises(ConfigError, match=r"invalid partition specified: moon; .*partition moon.*hydra\.launcher\."):
        submit([asked()], Settings(partition="moon"))
    assert not list(tmp_path.glob("runs/*"))


def test_what_was_submitted_before_a_refusal_is_known(pretended: Any, asked: Callable[..., Any]) -> None:
    pretended.set("refuse", "2")
    trials = [asked(f"seed={seed}") for seed in (1, 2, 3)]
    with pytest.raises(ConfigError, match=r"(?s)What was submitted before.*1 trials submitted"):
        submit(trials, Settings(gpus=0, trials_per_job=1, array_limit=1))
    [kept] = submission.all_of(Path(trials[0].config["paths"]["runs_root"]))
    assert [(array.job, array.tasks) for array in kept.arrays] == [("1", [[trials[0].key]])]


def test_a_queue_that_does_not_answer_is_no_ground_to_submit_twice(pretended: Any, asked: Callable[..., Any]) -> None:
    pretended.set("silent", "")
    with pytest.raises(ConfigError, match="squeue does not answer"):
        submit([asked()], SETTINGS)
    assert pretended.calls("sbatch") == []


def test_without_slurm_it_says_so(asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=r"sbatch, squeue, scontrol: not on this machine's PATH"):
        submit([asked()], SETTINGS)


def test_waiting_ends_when_all_have_ended_and_fails_if_one_has_no_score(
    pretended: Any, asked: Callable[..., Any], put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [asked(f"seed={seed}") for seed in (1, 2)]
    put(trials[0])
    before = submit(trials, SETTINGS)
    assert before.submission is not None
    name = before.submission.arrays[0].name
    pretended.queue((name, 0, "RUNNING"))
    done = submit(trials, SETTINGS)
    assert done.submission is None, "all that is left is in the queue"
    events = iter([lambda: pretended.queue((name, 0, "COMPLETING")), lambda: pretended.queue()])
    monkeypatch.setattr(submitting, "time", SimpleNamespace(sleep=lambda seconds: next(events)()))
    said: list[str] = []
    with pytest.raises(TrialFailed, match=rf"1 of 2 trials have no score: {trials[1].key} missing: its job has ended"):
        submitting.wait(done, 1, said.append)
    assert said == ["1 done, 1 queued", "1 done, 1 running", "1 done, 1 missing"]
    put(trials[1], "collapsed")
    submitting.wait(done, 1, said.append)
    assert said[-1] == "1 collapsed, 1 done"


def test_a_damaged_submission_is_named(pretended: Any, asked: Callable[..., Any], tmp_path: Path) -> None:
    done = submit([asked()], SETTINGS)
    assert done.submission is not None
    assert Submission.read(done.submission.root).trials == done.submission.trials
    (done.submission.root / "submission.json").write_text('{"arrays": []}')
    with pytest.raises(StoreError, match=r"submission\.json is damaged"):
        submission.all_of(tmp_path / "runs")
