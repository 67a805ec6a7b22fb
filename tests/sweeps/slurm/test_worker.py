"""Inside a job, without a cluster: what runs, what is left out, and when the job goes back into the queue."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest import MonkeyPatch

from repro.errors import ConfigError, Interrupted
from repro.store.progress import ProgressFile
from repro.sweeps.executors.slurm import failures
from repro.sweeps.executors.slurm.arrays import new_array
from repro.sweeps.executors.slurm.settings import Settings
from repro.sweeps.executors.slurm.states import States
from repro.sweeps.executors.slurm.worker import Job
from repro.trials.spec import TrialSpec
from tests.sweeps.conftest import Capsys, Put, Spec, Start

MakeJob = Callable[..., Job]


@pytest.fixture
def job(tmp_path: Path, pretended: Any, monkeypatch: MonkeyPatch) -> MakeJob:
    """job(*trials, **settings) -> the job that has them: task 3 of array 7, running."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.chdir(tmp_path)
    pretended.set("job", "JobId=9 ArrayJobId=7 ArrayTaskId=3 JobState=RUNNING Reason=None")

    def make(*trials: TrialSpec, **settings: Any) -> Job:
        array = new_array([trials], Settings(**settings).to_dict())
        array.write()
        return Job(array.folder, 0)

    return make


def events(made: Job) -> list[str]:
    return [line.event for line in made.events()]


def test_trials_with_a_score_are_left_out_and_others_are_tried(job: MakeJob, spec: Spec, put: Put) -> None:
    trials = [spec(f"seed={seed}") for seed in range(1, 5)] + [spec("seed=5", "rerun=true")]
    put(trials[0])
    put(trials[1], "failed", reason="nan")
    put(trials[4], "failed", reason="nan")
    made = job(*trials)
    failures.note(trials[2].folder, ConfigError("x"), "7_3")
    failures.note(trials[3].folder, ConfigError("x"), "6_0")
    assert [trial.key for trial in made.missing()] == [trials[3].key, trials[4].key]
    assert failures.read(trials[3].folder) is None, "of an earlier job: it is tried again"
    assert failures.read(trials[2].folder) is not None


def test_a_damaged_record_stops_no_other_trial(job: MakeJob, spec: Spec, put: Put, tmp_path: Path) -> None:
    trials = [spec("seed=1"), spec("seed=2")]
    put(trials[0])
    (tmp_path / "results" / "records" / trials[0].key / "record.json").write_text("{")
    made = job(*trials)
    assert [trial.key for trial in made.missing()] == [trials[1].key]
    note = failures.read(trials[0].folder)
    assert note is not None and "damaged" in note.reason and made.exit_code == 2


@pytest.mark.smoke
def test_one_that_fails_stops_no_other_and_leaves_a_note(
    job: MakeJob, spec: Spec, monkeypatch: MonkeyPatch, capsys: Capsys
) -> None:
    """In joint training: one whose loss becomes NaN, one with a bug of the program, which ends it, and two others."""
    from repro.trials.lifecycle import Attempt

    trials = [spec(f"seed={seed}") for seed in (1, 2, 3)]
    trials.insert(1, spec("seed=4", "trainer.optimiser.learning_rate=1e30"))
    began, read = [], Attempt.read

    def broken(self: Attempt) -> None:
        began.append(self.spec.config.seed)
        if self.spec.config.seed == 2:
            raise ZeroDivisionError("a bug")
        read(self)

    monkeypatch.setattr(Attempt, "read", broken)
    made = job(*trials)
    assert made.run() == 2
    assert began == [1, 4, 2, 1, 4, 2, 3], "together; then, as that ended with the bug, one after another"
    notes = [failures.read(trial.folder) for trial in trials]
    assert [note and (note.kind, note.permanent, note.job) for note in notes] == [
        None,
        ("TrialFailed", True, "7_3"),
        ("ZeroDivisionError", True, "7_3"),
        None,
    ]
    found = [trial.store.get(trial.key) for trial in trials]
    assert [record and record.status for record in found] == ["collapsed", "failed", None, "collapsed"]
    assert found[0] is not None and found[0].choices == {"model": "tiny-bert"}
    assert found[0].provenance["command"] == ["repro", "run", "seed=1"]
    assert events(made) == ["begin", "failed"]
    said = capsys.readouterr().err
    assert said.count("ZeroDivisionError: a bug: the 4 trials that are left run alone") == 1
    assert "repro: seed=2: ZeroDivisionError: a bug" in said
    assert not list(trials[0].folder.parent.rglob("lock"))


@pytest.mark.smoke
def test_trials_over_one_backbone_train_together_and_others_alone(job: MakeJob, spec: Spec, capsys: Capsys) -> None:
    together = [spec("seed=1"), spec("seed=2", "method.length=3")]
    alone = [
        spec("seed=3", "trainer.joint_trials=1"),
        spec("method=fine_tuning", "trainer.optimiser.learning_rate=1e-3"),
    ]
    made = job(*together, *alone)
    assert made.run() == 0 and events(made) == ["begin", "done"]
    found = [trial.store.get(trial.key) for trial in (*together, *alone)]
    assert [record and record.provenance.get("joint_trials") for record in found] == [2, 2, None, None]
    assert made.missing() == [] and "the trials that are left" not in capsys.readouterr().err


def test_a_job_goes_back_while_it_gets_further(job: MakeJob, spec: Spec, put: Put, pretended: Any) -> None:
    trial = spec()
    made = job(trial, spec("seed=2"))
    assert made.requeue(signal.SIGUSR2) == "SIGUSR2: job 7_3 is requeued"
    file = ProgressFile(trial.folder, 10, iter(range(0, 1000, 100)).__next__)
    trial.folder.mkdir(parents=True)
    file.trained(4, 0.5)
    assert "is requeued" in made.requeue(signal.SIGUSR2)
    with (made.folder / "0.attempts.jsonl").open("a") as log:
        log.write(
            '{"event": "requeued", "reached": "far"}\n[[[\n5\n\ud800\n'.encode(errors="surrogatepass").decode("latin-1")
        )
    said = made.requeue(signal.SIGUSR2)
    assert "not requeued: since its last start it got no further" in said and "hydra.launcher.time" in said
    assert pretended.calls("scontrol").count("requeue 7_3") == 2
    file.trained(5, 0.5)
    assert "is requeued" in made.requeue(signal.SIGUSR2)
    (trial.folder / "progress.json").unlink()
    put(trial)
    assert "is requeued" in made.requeue(signal.SIGUSR2), "its end is progress, though its steps are gone"
    assert events(made) == ["requeued", "requeued", "stuck", "requeued", "requeued"]


@pytest.mark.parametrize(
    ("state", "back"),
    [
        ("JobState=RUNNING Reason=None", True),
        ("JobState=COMPLETING Reason=TimeLimit", True),
        ("JobState=COMPLETING Reason=Preempted", True),
        ("JobState=COMPLETING Reason=None", False),
        ("JobState=CANCELLED Reason=None", False),
        ("", False),
    ],
)
def test_a_preempted_job_goes_back_and_a_cancelled_one_does_not(
    job: MakeJob, spec: Spec, pretended: Any, state: str, back: bool
) -> None:
    pretended.set("job", f"JobId=9 {state}" if state else "")
    made = job(spec())
    said = made.requeue(signal.SIGTERM)
    assert ("requeue 7_3" in pretended.calls("scontrol")) == back
    assert ("does not requeue itself" in said) != back


def test_a_job_goes_back_so_often_only(job: MakeJob, spec: Spec, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert "was requeued 2 times already" in job(spec(), max_requeues=2).requeue(signal.SIGTERM)
    assert "is requeued" in job(spec(), max_requeues=3).requeue(signal.SIGTERM)


def test_outside_of_slurm_nothing_is_put_back(
    job: MakeJob, spec: Spec, pretended: Any, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID")
    assert "no Slurm job" in job(spec()).requeue(signal.SIGUSR2)
    assert pretended.calls("scontrol") == []


WATCH = """
import os, signal, sys, time
from repro.sweeps.executors.slurm.worker import scheduler_signals
def overdue(number):
    print("overdue", number, flush=True)
    os._exit(3)
with scheduler_signals(overdue, 0.2) as first:
    {handler}
    try:
        os.kill(os.getpid(), signal.{signal})
        for _ in range(1000):
            time.sleep(0.01)
    except KeyboardInterrupt:
        print("stopped", first(), flush=True)
        for _ in range(1000 if {linger} else 0):
            time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("name", "handler", "linger", "printed"),
    [
        ("SIGUSR2", "pass", False, f"stopped {int(signal.SIGUSR2)}\n"),
        ("SIGTERM", "pass", False, f"stopped {int(signal.SIGTERM)}\n"),
        ("SIGINT", "pass", False, "stopped None\n"),
        # A trial's console has taken the signal over and its step does not end.
        ("SIGUSR2", "signal.signal(signal.SIGUSR2, lambda *_: None)", False, f"overdue {int(signal.SIGUSR2)}\n"),
        # We were stopped, and what should end does not.
        ("SIGUSR2", "pass", True, f"stopped {int(signal.SIGUSR2)}\noverdue {int(signal.SIGUSR2)}\n"),
    ],
)
def test_signals_stop_at_once_or_after_some_patience(
    python: Start, name: str, handler: str, linger: bool, printed: str
) -> None:
    done = python("-c", WATCH.format(signal=name, handler=handler, linger=linger))
    assert (done.out, done.code) == (printed, 3 if "overdue" in printed else 0), done.err


STEPS = ("trainer.steps=12", "trainer.evaluate_every=4")
DISTURBED = """
import os, signal, sys
from repro.training.loop import TrainingLoop
step = TrainingLoop._step
def disturbed(self):
    if self.trials[0].progress.step == {step} - 1 and os.environ.get("SLURM_RESTART_COUNT") is None:
        os.kill(os.getpid(), signal.{signal})
    step(self)
TrainingLoop._step = disturbed
from repro.cli.main import main
raise SystemExit(main(["run-chunk", sys.argv[1], "0"]))
"""


def record_and_prompt(folder: Path, key: str) -> tuple[dict[str, Any], bytes]:
    record = json.loads((folder / "records" / key / "record.json").read_text())
    return record, (folder.parent / "runs" / key / "prompt.safetensors").read_bytes()


@pytest.mark.smoke
@pytest.mark.parametrize(("joint", "name"), [("1", "SIGUSR2"), ("auto", "SIGTERM")])
def test_a_warned_job_saves_goes_back_and_ends_as_if_nothing_had_been(
    job: MakeJob, spec: Spec, start: Start, tmp_path: Path, monkeypatch: MonkeyPatch, joint: str, name: str
) -> None:
    """The real signal in a real process; the scheduler's part is played by hand. One trial after another ends bit for
    bit as an undisturbed one; joint training to the tolerance of docs/joint.md, since its sums have another order."""
    trials = [spec(f"seed={seed}", f"trainer.joint_trials={joint}", *STEPS) for seed in (1, 2)]
    made = job(*trials)
    disturbed = DISTURBED.format(step=6, signal=name)
    warned = start(str(made.folder), code=disturbed).end()
    assert warned.code == Interrupted.exit_code, warned.err
    assert f"{name}: job 7_3 is requeued" in warned.err
    steps = [6, None if joint == "1" else 5]  # jointly, the second joins when the first has made a step
    states = States(tmp_path / "results", tmp_path / "runs", {})
    for trial, step in zip(trials, steps, strict=True):
        state = states.of(trial.key)
        assert (state.status, state.step) == ("missing" if step is None else "interrupted", step)
        if step is not None:
            held = json.loads((tmp_path / "runs" / trial.key / "checkpoint" / "state.json").read_text())
            assert held["progress"]["step"] == step and not (tmp_path / "runs" / trial.key / "lock").exists()
    assert made.events()[-1].reached == [0, sum(step or 0 for step in steps)]

    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = start(str(made.folder), code=disturbed).end()
    assert again.code == 0, again.err
    assert "seed 1: step 7/12" in again.err and f"seed 2: step {(steps[1] or 0) + 1}/12" in again.err
    from repro.trials.run import run

    here = tmp_path / "here" / "results"
    for trial in trials:
        assert sorted(path.name for path in (tmp_path / "runs" / trial.key).iterdir()) == [
            "predictions-validation.jsonl",
            "prompt.safetensors",
        ]
        paths = replace(trial.config.paths, results_root=str(here), runs_root=str(here.parent / "runs"))
        run(replace(trial, config=replace(trial.config, paths=paths)))
        (ours, prompt), (whole, expected) = (
            record_and_prompt(root, trial.key) for root in (tmp_path / "results", here)
        )
        for part in ("metrics", "selection", "statistics", "status", "config"):
            assert ours[part] == whole[part], part
        for row, wanted in zip(ours["curve"], whole["curve"], strict=True):
            assert row == (wanted | {"train_loss": pytest.approx(wanted["train_loss"], rel=1e-4)})
        if joint == "1":
            assert ours["curve"] == whole["curve"] and prompt == expected


def test_what_a_node_cannot_run_is_said(job: MakeJob, spec: Spec, tmp_path: Path, capsys: Capsys) -> None:
    from repro.cli.main import main

    folder = job(spec()).folder
    assert main(["run-chunk", str(folder), "1"]) == 2
    assert "its tasks are 0 to 0" in capsys.readouterr().err
    file = folder / "array.json"
    file.write_text(file.read_text().replace(f'"directory": "{tmp_path}"', f'"directory": "{tmp_path}/gone"'))
    assert main(["run-chunk", str(folder), "0"]) == 2
    assert "file system that the nodes share" in capsys.readouterr().err
