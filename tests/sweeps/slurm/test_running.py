"""Inside a job, without a cluster: what runs, what is left out, and when the job goes back into the queue."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.errors import ConfigError, Interrupted
from repro.store.progress import ProgressFile
from repro.store.store import Store
from repro.sweeps.executors.slurm import failures
from repro.sweeps.executors.slurm.chunks import Chunk
from repro.sweeps.executors.slurm.states import States
from repro.sweeps.executors.slurm.worker import Job


@pytest.fixture
def job(asked: Callable[..., Any], tmp_path: Path, pretended: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """job(*trials) -> (the file of a chunk, the job that has it): task 3 of array 7, running."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    pretended.set("job", "JobId=9 ArrayJobId=7 ArrayTaskId=3 JobState=RUNNING Reason=None")

    def make(*trials: Any) -> Job:
        file = tmp_path / "array-0" / "3.json"
        Chunk(trials, str(tmp_path)).write(file)
        return Job(file)

    return make


def events(made: Job) -> list[str]:
    return [line["event"] for line in made.attempts.all()]


def test_trials_with_a_score_are_left_out_and_others_are_tried(
    job: Any, asked: Callable[..., Any], put: Callable[..., None]
) -> None:
    trials = [asked(f"seed={seed}") for seed in range(1, 5)] + [asked("seed=5", "rerun=true")]
    put(trials[0])
    put(trials[1], "failed", reason="nan")
    put(trials[4], "failed", reason="nan")
    made = job(*trials)
    failures.note(made.folder(trials[2]), failures.failure(ConfigError("x"), "7_3"))
    failures.note(made.folder(trials[3]), failures.failure(ConfigError("x"), "6_0"))
    assert [trial.key for trial in made.left()] == [trials[3].key, trials[4].key]
    assert failures.read(made.folder(trials[3])) is None, "of an earlier job: it is tried again"
    assert failures.read(made.folder(trials[2])) is not None


def test_a_damaged_record_stops_no_other_trial(
    job: Any, asked: Callable[..., Any], put: Callable[..., None], tmp_path: Path
) -> None:
    trials = [asked("seed=1"), asked("seed=2")]
    put(trials[0])
    (tmp_path / "results" / "records" / trials[0].key / "record.json").write_text("{")
    made = job(*trials)
    assert [trial.key for trial in made.left()] == [trials[1].key]
    note = failures.read(made.folder(trials[0]))
    assert note is not None and "damaged" in note.reason and made.worst == 2


@pytest.mark.smoke
def test_one_that_fails_stops_no_other_and_leaves_a_note(
    job: Any, asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one gang: one whose loss becomes NaN, one with a bug of the program, which ends the gang, and two others."""
    from repro.trials.lifecycle import Attempt

    trials = [asked(f"seed={seed}") for seed in (1, 2, 3)]
    trials.insert(1, asked("seed=4", "trainer.optimiser.learning_rate=1e30"))
    began, read = [], Attempt.read

    def broken(self: Attempt) -> None:
        began.append(self.plain["seed"])
        if self.plain["seed"] == 2:
            raise ZeroDivisionError("a bug")
        read(self)

    monkeypatch.setattr(Attempt, "read", broken)
    made = job(*trials)
    assert made.run() == 2
    assert began == [1, 4, 2, 1, 4, 2, 3], "together; then, as the gang ended with the bug, one after another"
    notes = [failures.read(made.folder(trial)) for trial in trials]
    assert [note and (note.kind, note.repeats, note.job) for note in notes] == [
        None,
        ("TrialFailed", True, "7_3"),
        ("ZeroDivisionError", True, "7_3"),
        None,
    ]
    stored = Store(Path(trials[0].config["paths"]["results_root"]) / "records")
    found = [stored.get(trial.key) for trial in trials]
    assert [record and record.status for record in found] == ["collapsed", "failed", None, "collapsed"]
    assert found[0] is not None and found[0].choices == {"model": "tiny-bert"}
    assert found[0].provenance["command"] == ["repro", "run", "seed=1"]
    assert events(made) == ["begin", "failed"]
    said = capsys.readouterr().err
    assert said.count("ZeroDivisionError: a bug: the 4 trials that are left run alone") == 1
    assert "repro: seed=2: ZeroDivisionError: a bug" in said
    assert not list(made.folder(trials[0]).parent.rglob("lock"))


@pytest.mark.smoke
def test_trials_over_one_backbone_train_together_and_others_alone(
    job: Any, asked: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    together = [asked("seed=1"), asked("seed=2", "method.length=3")]
    alone = [
        asked("seed=3", "trainer.joint_trials=1"),
        asked("method=fine_tuning", "trainer.optimiser.learning_rate=1e-3"),
    ]
    made = job(*together, *alone)
    assert made.run() == 0 and events(made) == ["begin", "done"]
    stored = Store(Path(alone[0].config["paths"]["results_root"]) / "records")
    found = [stored.get(trial.key) for trial in (*together, *alone)]
    assert [record and record.provenance.get("joint_trials") for record in found] == [2, 2, None, None]
    assert made.left() == [] and "the trials that are left" not in capsys.readouterr().err


def test_a_job_goes_back_while_it_gets_further(job: Any, asked: Callable[..., Any], pretended: Any) -> None:
    trial = asked()
    made = job(trial)
    assert made.again(signal.SIGUSR2, 9) == "SIGUSR2: job 7_3 is put back"
    file = ProgressFile(made.folder(trial), 10, iter(range(0, 1000, 100)).__next__)
    made.folder(trial).mkdir(parents=True)
    file.trained(4, 0.5)
    assert "is put back" in made.again(signal.SIGUSR2, 9)
    said = made.again(signal.SIGUSR2, 9)
    assert "not put back: since its last start it got no further" in said and "hydra.launcher.time" in said
    assert pretended.calls("scontrol").count("requeue 7_3") == 2
    file.trained(5, 0.5)
    assert "is put back" in made.again(signal.SIGUSR2, 9)
    assert events(made) == ["requeued", "requeued", "stuck", "requeued"]


def test_a_trial_that_ends_is_progress_though_its_steps_are_gone(
    job: Any, asked: Callable[..., Any], put: Callable[..., None]
) -> None:
    trials = [asked("seed=1"), asked("seed=2")]
    made = job(*trials)
    made.folder(trials[0]).mkdir(parents=True)
    ProgressFile(made.folder(trials[0]), 10).trained(9, 0.5)
    assert "is put back" in made.again(signal.SIGUSR2, 9)
    (made.folder(trials[0]) / "progress.json").unlink()
    put(trials[0])
    assert "is put back" in made.again(signal.SIGUSR2, 9)


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
    job: Any, asked: Callable[..., Any], pretended: Any, state: str, back: bool
) -> None:
    pretended.set("job", f"JobId=9 {state}" if state else "")
    made = job(asked())
    said = made.again(signal.SIGTERM, 9)
    assert ("requeue 7_3" in pretended.calls("scontrol")) == back
    assert ("does not put itself back" in said) != back


def test_a_job_goes_back_so_often_only(job: Any, asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    made = job(asked())
    assert "was put back 2 times already" in made.again(signal.SIGTERM, 2)
    assert "is put back" in made.again(signal.SIGTERM, 3)


def test_outside_of_slurm_nothing_is_put_back(
    job: Any, asked: Callable[..., Any], pretended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID")
    assert "no Slurm job" in job(asked()).again(signal.SIGUSR2, 9)
    assert pretended.calls("scontrol") == []


NOTICE = """
import os, signal, sys, time
from repro.jobs.running import Notice
def overdue(number):
    print("overdue", number, flush=True)
    os._exit(3)
with Notice(overdue, 0.2) as notice:
    {handler}
    try:
        os.kill(os.getpid(), signal.{signal})
        for _ in range(1000):
            time.sleep(0.01)
    except KeyboardInterrupt:
        print("stopped", notice.received(), flush=True)
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
    python: Callable[..., Any], name: str, handler: str, linger: bool, printed: str
) -> None:
    done = python("-c", NOTICE.format(signal=name, handler=handler, linger=linger))
    assert (done.out, done.code) == (printed, 3 if "overdue" in printed else 0), done.err


STEPS = ("trainer.steps=12", "trainer.evaluate_every=4")
DISTURBED = """
import os, signal, sys
from repro.training import loop
joint_step = loop.TrainingLoop._step
def one_round(self):
    progress = self.trials[0].progress
    if progress.step == {step} - 1 and os.environ.get("SLURM_RESTART_COUNT") is None:
        os.kill(os.getpid(), signal.{signal})
    joint_step(self)
loop.TrainingLoop._step = one_round
from repro.cli.main import main
raise SystemExit(main(["run-chunk", sys.argv[1]]))
"""


def record_and_prompt(folder: Path, key: str) -> tuple[dict[str, Any], bytes]:
    record = json.loads((folder / "records" / key / "record.json").read_text())
    return record, (folder.parent / "runs" / key / "prompt.safetensors").read_bytes()


@pytest.mark.smoke
@pytest.mark.parametrize(("gang", "name"), [("1", "SIGUSR2"), ("auto", "SIGTERM")])
def test_a_warned_job_saves_goes_back_and_ends_as_if_nothing_had_been(
    job: Any,
    asked: Callable[..., Any],
    start: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gang: str,
    name: str,
) -> None:
    """The real signal in a real process; the scheduler's part is played by hand. One trial after another ends bit for
    bit as an undisturbed one; a gang to the tolerance of docs/joint.md, since sums have another order in it."""
    trials = [asked(f"seed={seed}", f"trainer.joint_trials={gang}", *STEPS) for seed in (1, 2)]
    made = job(*trials)
    disturbed = DISTURBED.format(step=6, signal=name)
    warned = start(str(made.file), code=disturbed).end()
    assert warned.code == Interrupted.exit_code, warned.err
    assert f"{name}: job 7_3 is put back" in warned.err
    steps = [6, None if gang == "1" else 5]  # in a gang the second joins when the first has made a step
    states = States(tmp_path / "results", tmp_path / "runs", {}, {})
    for trial, step in zip(trials, steps, strict=True):
        state = states.of(trial.key)
        assert (state.status, state.step) == ("missing" if step is None else "interrupted", step)
        if step is not None:
            held = json.loads((tmp_path / "runs" / trial.key / "checkpoint" / "state.json").read_text())
            assert held["progress"]["step"] == step and not (tmp_path / "runs" / trial.key / "lock").exists()
    assert made.attempts.all()[-1]["reached"] == [0, sum(step or 0 for step in steps)]

    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = start(str(made.file), code=disturbed).end()
    assert again.code == 0, again.err
    assert "seed 1: step 7/12" in again.err and f"seed 2: step {(steps[1] or 0) + 1}/12" in again.err
    from repro.trials.plain import run

    here = tmp_path / "here" / "results"
    for trial in trials:
        assert sorted(path.name for path in (tmp_path / "runs" / trial.key).iterdir()) == [
            "predictions-validation.jsonl",
            "prompt.safetensors",
        ]
        places = {"results_root": str(here), "runs_root": str(here.parent / "runs")}
        run(trial.config | {"paths": trial.config["paths"] | places}, trial.choices)
        (ours, prompt), (whole, expected) = (
            record_and_prompt(root, trial.key) for root in (tmp_path / "results", here)
        )
        for part in ("metrics", "selection", "statistics", "status", "config"):
            assert ours[part] == whole[part], part
        for row, wanted in zip(ours["curve"], whole["curve"], strict=True):
            assert row == (wanted | {"train_loss": pytest.approx(wanted["train_loss"], rel=1e-4)})
        if gang == "1":
            assert ours["curve"] == whole["curve"] and prompt == expected


def test_a_folder_that_the_node_does_not_have_is_said(
    asked: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], pretended: Any
) -> None:
    from repro.cli.main import main

    file = tmp_path / "0.json"
    Chunk((asked(),), str(tmp_path / "gone")).write(file)
    assert main(["run-chunk", str(file)]) == 2
    assert "file system that the nodes share" in capsys.readouterr().err
