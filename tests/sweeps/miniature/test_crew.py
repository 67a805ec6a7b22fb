"""Real worker processes on tiny models: what they run, how they fail, and how they stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.run_key import run_key
from repro.errors import Interrupted
from repro.store.store import Store
from repro.sweeps.executors.process_pool import Crew
from repro.sweeps.miniature.planning import Job
from repro.trials.plain import spec_of

Quick = Callable[..., dict[str, Any]]
LONG = ("trainer.steps=100000", "trainer.evaluate_every=100000")


class Seen:
    """A watcher that remembers, and may act at a step."""

    def __init__(self, at_step: Callable[[Crew], None] | None = None) -> None:
        self.results: dict[str, str] = {}
        self.said: list[str] = []
        self._at_step = at_step

    def started(self, job: Job) -> None: ...

    def ended(self, job: Job, status: str, said: str, seconds: float) -> None:
        assert seconds > 0
        self.results[job.name] = status

    def tick(self, crew: Crew) -> None:
        if self._at_step is not None and any(worker.step > 0 for worker in crew.workers):
            act, self._at_step = self._at_step, None
            act(crew)

    def say(self, text: str) -> None:
        self.said.append(text)


def job(name: str, plain: dict[str, Any]) -> Job:
    return Job(run_key(plain), name, spec_of(plain), 1.0)


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(Path(__file__).resolve().parents[3] / "src")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))


@pytest.mark.smoke
def test_trials_are_shared_and_one_that_fails_does_not_stop_the_others(quick: Quick, tmp_path: Path) -> None:
    nowhere = quick("seed=3", "model.source=folder", "model.location=nowhere")
    plains = {"one": quick("seed=1"), "lost": nowhere, "two": quick("seed=2")}
    crew, seen = Crew([job(name, plain) for name, plain in plains.items()], 2, tmp_path / "logs"), Seen()
    crew.run(seen)
    assert set(seen.results) == set(plains) and seen.results["lost"] == "failed"
    assert list(crew.failures) == ["lost"] and "nowhere" in crew.failures["lost"]
    store = Store(tmp_path / "results" / "records")
    for name in ("one", "two"):
        record = store.get(run_key(plains[name]))
        assert record is not None and record.status == seen.results[name] and record.cost["steps"] == 2
    assert crew.clock.share == pytest.approx(1.0) and all(w.process.poll() is not None for w in crew.workers)


@pytest.mark.smoke
def test_a_worker_that_dies_costs_its_trial_and_another_takes_its_place(quick: Quick, tmp_path: Path) -> None:
    jobs = [job("long", quick("seed=1", *LONG)), job("next", quick("seed=2"))]
    crew = Crew(jobs, 1, tmp_path / "logs")
    seen = Seen(lambda crew: crew.workers[0].process.kill())
    crew.run(seen)
    assert seen.results["long"] == "failed" and seen.results["next"] in ("done", "collapsed")
    assert f"{-signal.SIGKILL}" in crew.failures["long"] and str(crew.workers[0].log) in crew.failures["long"]


@pytest.mark.smoke
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_and_the_same_jobs_go_on(quick: Quick, tmp_path: Path, number: int) -> None:
    plain = quick("seed=1", *LONG)
    crew, seen = Crew([job("long", plain), job("never", quick("seed=2"))], 1, tmp_path / "logs"), None
    seen = Seen(lambda crew: threading.Thread(target=lambda: (time.sleep(0.2), os.kill(os.getpid(), number))).start())
    with pytest.raises(Interrupted, match=r"0 of 2 trials done; the same command goes on"):
        crew.run(seen)
    assert crew.workers[0].process.poll() is not None and seen.results == {} and seen.said
    assert list((tmp_path / "runs" / run_key(plain) / "checkpoint").iterdir()), "it was saved before it stopped"
    assert not Store(tmp_path / "results" / "records").has_records()
