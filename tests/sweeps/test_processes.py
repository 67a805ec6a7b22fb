"""Real worker processes on tiny models: what they run, how they fail, and how they stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from repro.errors import Interrupted, ReproError, StoreError, TrialFailed
from repro.store.store import Store
from repro.sweeps.executors import process_worker
from repro.sweeps.executors.base import Result
from repro.sweeps.executors.processes import Processes, Worker
from repro.sweeps.executors.time_left import Clock
from repro.trials.run import Outcome
from repro.trials.spec import TrialSpec
from tests.sweeps.conftest import Spec

Pool = Callable[..., tuple[Processes, list[Result], "Seen"]]
Act = Callable[[Sequence[Worker]], None]
LONG = ("trainer.steps=100000", "trainer.evaluate_every=100000")


class Seen:
    """A display that remembers, and may act at a step."""

    def __init__(self, at_step: Act | None = None) -> None:
        self.messages: list[str] = []
        self.share = 0.0
        self._at_step = at_step

    def started(self, spec: TrialSpec) -> None: ...

    def tick(self, workers: Sequence[Worker], clock: Clock) -> None:
        self.share = clock.share
        if self._at_step is not None and any(worker.step > 0 for worker in workers):
            act, self._at_step = self._at_step, None
            act(workers)

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: MonkeyPatch) -> Pool:
    """pool(specs, count, at_step) -> the executor after its run, the results in order, and the display."""
    source = str(Path(__file__).resolve().parents[2] / "src")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))

    def run(specs: Sequence[TrialSpec], count: int, at_step: Act | None = None) -> tuple[Processes, list[Result], Seen]:
        seen, results = Seen(at_step), dict[str, Result]()
        processes = Processes(count, tmp_path / "logs", seen, {spec.key: 1.0 for spec in specs})
        processes.run(specs, lambda spec, result: results.update({spec.key: result}))
        return processes, [results[spec.key] for spec in specs], seen

    return run


@pytest.mark.smoke
def test_one_trial_that_fails_and_one_whose_worker_dies_stop_no_other(pool: Pool, spec: Spec) -> None:
    specs = [spec("seed=1", *LONG), spec("seed=3", "model.source=folder", "model.location=nowhere"), spec("seed=2")]
    processes, results, seen = pool(specs, 1, lambda workers: workers[0].process.kill())
    assert isinstance(results[0], TrialFailed), "another worker took the place of the one that died"
    assert f"{-signal.SIGKILL}" in str(results[0]) and str(processes.workers[0].log) in str(results[0])
    assert isinstance(results[1], ReproError) and "nowhere" in str(results[1])
    assert isinstance(results[2], Outcome) and results[2].record is not None
    assert results[2].record.cost["steps"] == 2
    assert seen.share == pytest.approx(1.0) and all(w.process.poll() is not None for w in processes.workers)


def test_a_worker_whose_parent_was_killed_ends_within_two_seconds() -> None:
    """Also where its trial does not come to a checkpoint: here the signal is ignored."""
    ending, alive = os.pipe()
    parent = os.fork()
    if parent == 0:
        killed = os.getpid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            process_worker._end_with(killed)
        os._exit(0)
    os.waitpid(parent, 0)
    os.close(alive)
    began = time.monotonic()
    assert os.read(ending, 1) == b"" and time.monotonic() - began < 2.0
    os.close(ending)


@pytest.mark.smoke
def test_a_signal_leaves_a_checkpoint_and_the_same_trials_go_on(pool: Pool, spec: Spec, tmp_path: Path) -> None:
    specs = [spec("seed=1", *LONG), spec("seed=2")]
    workers: list[Worker] = []

    def stop(running: Sequence[Worker]) -> None:
        workers.extend(running)
        threading.Thread(target=lambda: (time.sleep(0.2), os.kill(os.getpid(), signal.SIGTERM))).start()

    with pytest.raises(Interrupted, match=r"0 of 2 trials done; the same command goes on"):
        pool(specs, 1, stop)
    assert workers[0].process.poll() is not None
    assert list((specs[0].folder / "checkpoint").iterdir()), "it was saved before it stopped"
    assert not Store(tmp_path / "results" / "records").has_records()


def test_the_folder_of_logs_is_said_when_it_cannot_be_made(spec: Spec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    trial = spec()
    with pytest.raises(StoreError, match="--runs"):
        Processes(1, tmp_path / "file" / "logs", Seen(), {trial.key: 1.0}).run([trial], lambda spec, result: None)
