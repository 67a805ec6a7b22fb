"""How a trial is doing, from what lies on the disk and what the queue says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest import MonkeyPatch

from repro.errors import ConfigError, Interrupted, StoreError
from repro.store.lock import Lock
from repro.store.progress import ProgressFile
from repro.sweeps.executors.slurm import failures, states
from repro.sweeps.executors.slurm.queue import QueuedTask, queue
from repro.sweeps.executors.slurm.states import States
from tests.sweeps.conftest import Put, Spec

Look = Callable[..., Any]
TASK = ("repro-x-0", 3)


@pytest.fixture
def look(tmp_path: Path, monkeypatch: MonkeyPatch) -> Callable[..., Any]:
    """look(key, state of its task | None) -> State; the queue does not answer if `answers` is False."""

    def of(key: str, state: str | None = None, answers: bool = True, submitted: bool = True) -> Any:
        tasks = {TASK: QueuedTask("7_3", state, "Priority")} if state else {}
        monkeypatch.setattr(states, "tasks_by_key", lambda arrays: {key: [TASK]} if submitted else {})
        return States(tmp_path / "results", tmp_path / "runs", tasks if answers else None).of(key)

    return of


def test_a_record_says_all(look: Look, spec: Spec, put: Put) -> None:
    trial = spec()
    curve = [{"step": 2, "train_loss": 0.25}]
    selection = {"split": "validation", "metric": "accuracy", "value": 62.5}
    put(trial, curve=curve, selection=selection, cost={"steps": 2.0})
    state = look(trial.key, "PENDING")
    assert (state.status, state.step, state.loss, state.score) == ("done", 2, 0.25, "validation accuracy 62.50")
    assert not state.wanted(True)


def test_a_failed_record_repeats_but_may_be_tried_again(look: Look, spec: Spec, put: Put) -> None:
    trial = spec()
    put(trial, "failed", reason="the loss became nan")
    state = look(trial.key)
    assert (state.status, state.reason) == ("failed", "the loss became nan")
    assert not state.wanted(False) and state.wanted(True)
    assert look(trial.key, "PENDING").status == "queued"


def test_a_trial_that_runs_shows_how_far_it_is(look: Look, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "k"
    with Lock(folder / "lock"):
        assert look("k", submitted=False).status == "running"
        assert look("k").reason == "starting"
        clock = [0.0]
        file = ProgressFile(folder, 10, lambda: clock[0])
        file.trained(1, 0.75)
        clock[0] = 8
        file.trained(5, 0.5)
        for state in (look("k", "RUNNING"), look("k", answers=False), look("k", submitted=False)):
            assert (state.status, state.step, state.steps, state.loss) == ("running", 5, 10, 0.5)
            assert state.left == pytest.approx(2.0 * 5)
        assert look("k", "RUNNING").job == "7_3"
        assert str(os.getpid()) in str(look("k", submitted=False).job)
        assert not look("k").wanted(True)
    state = look("k")
    assert (state.status, state.step) == ("interrupted", 5) and state.wanted(False)
    assert look("k", "PENDING").status == "queued" and look("k", "PENDING").step == 5


def test_the_lock_of_a_process_that_is_gone_is_no_sign_of_life(look: Look, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "k"
    child = os.fork()
    if child == 0:
        Lock(folder / "lock").acquire()
        os._exit(0)
    os.waitpid(child, 0)
    ProgressFile(folder, 10).trained(1, 0.5)
    assert (folder / "lock").is_file()
    assert look("k").status == "interrupted"


@pytest.mark.parametrize(
    ("task", "status"),
    [
        ({"state": "PENDING"}, "queued"),
        ({"state": "RUNNING"}, "queued"),
        ({"state": "REQUEUED"}, "queued"),
        ({"state": "COMPLETING"}, "missing"),
        ({"state": None}, "missing"),
        ({"answers": False}, "submitted"),  # without a queue what was submitted is not called lost
        ({"answers": False, "submitted": False}, "missing"),
    ],
)
def test_a_trial_without_any_file_is_where_its_task_is(look: Look, task: dict[str, Any], status: str) -> None:
    state = look("k", **task)
    assert state.status == status and state.wanted(status == "submitted") == (status == "missing")


def test_a_damaged_record_is_said_and_not_overwritten(look: Look, spec: Spec, put: Put, tmp_path: Path) -> None:
    trial = spec()
    put(trial)
    (tmp_path / "results" / "records" / trial.key / "record.json").write_text("{")
    state = look(trial.key)
    assert state.status == "damaged" and "damaged" in state.reason and not state.wanted(True)


def caused(error: Exception, number: int) -> Exception:
    """An error with an OSError as its cause."""
    error.__cause__ = OSError(number, os.strerror(number))
    return error


class AcceleratorError(RuntimeError):
    """As torch names a broken device."""


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (ConfigError("x"), True),
        (RuntimeError("a bug"), True),
        (MemoryError(), True),
        (FileNotFoundError(2, "no such file"), True),
        (StoreError("the checkpoint is damaged"), True),
        (caused(StoreError("x"), 13), True),
        (caused(StoreError("x"), 28), False),
        (OSError(28, "No space left on device"), False),
        (OSError(116, "Stale file handle"), False),
        (Interrupted("x"), False),
        (AcceleratorError("CUDA error"), False),
    ],
)
def test_what_would_fail_again(look: Look, tmp_path: Path, error: Exception, permanent: bool) -> None:
    failures.note(tmp_path / "runs" / "k", error, "7_3")
    state = look("k")
    assert (state.status, state.permanent, state.job) == ("failed", permanent, "7_3")
    assert state.wanted(False) != permanent and state.wanted(True)
    assert look("k", "RUNNING").status == "failed", "the job goes on with its other trials"
    assert look("k", "PENDING").status == "queued"


def test_the_queue_is_read(pretended: Any) -> None:
    pretended.queue(("repro-x-0", 3, "RUNNING"), ("bash", 0, "RUNNING"))
    assert queue() == {TASK: QueuedTask("7_3", "RUNNING", "Priority")}
    pretended.set("silent", "")
    assert queue() is None
