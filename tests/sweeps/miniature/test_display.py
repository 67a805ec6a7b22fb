"""Progress in lines and in bars."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from pytest import MonkeyPatch

from repro.errors import TrialFailed
from repro.store.record import Record
from repro.sweeps.executors.time_left import Clock
from repro.sweeps.miniature import display
from repro.trials.run import Outcome
from repro.trials.spec import TrialSpec
from tests.sweeps.conftest import Spec

NAME = "prompt_tuning mini-t5-s mini_rte seed 1"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def running(spec: TrialSpec, step: int, steps: int) -> tuple[Any, Clock]:
    """A worker at a step of its trial, and the clock."""
    clock = Clock({spec.key: 100.0, "other": 100.0}, 1, running={spec.key: (25.0, step / steps)})
    return [SimpleNamespace(spec=spec, step=step, steps=steps)], clock


def done(spec: TrialSpec) -> Outcome:
    record = Record(spec.key, "done", spec.config.to_dict(), 1, metrics={"validation": {"accuracy": 80.0}})
    record.selection = {"metric": "accuracy"}
    return Outcome(record, False, spec.folder)


def test_lines_where_there_is_no_terminal(spec: Spec, monkeypatch: MonkeyPatch) -> None:
    stream, trials = io.StringIO(), [spec("seed=1"), spec("seed=2")]
    shown = display.display({trial.key: f"{NAME}{index}" for index, trial in enumerate(trials)}, stream)
    assert isinstance(shown, display.Lines)
    with shown:
        for trial in trials:
            shown.started(trial)
        shown.tick(*running(trials[0], 25, 100))
        assert stream.getvalue() == "", "a line comes every few seconds only"
        monkeypatch.setattr(display, "LINE_SECONDS", 0.0)
        shown.tick(*running(trials[0], 25, 100))
        shown.ended(trials[0], done(trials[0]))
        shown.ended(trials[1], TrialFailed("no weights"))
    lines = stream.getvalue().splitlines()
    # 25 of 200 expected seconds are done and took 25: the other 175 take as long as expected.
    assert lines[0] == f"12% done, about 3 min left. Running: {NAME}0: step 25/100"
    assert lines[1:] == [f"1/2 {NAME}0: accuracy 80.0 (0 s)", f"2/2 {NAME}1: failed: no weights (0 s)"]


def test_bars_on_a_terminal(spec: Spec) -> None:
    stream, trial = Terminal(), spec()
    shown = display.display({trial.key: NAME, "other": "other"}, stream)
    assert isinstance(shown, display.Bars)
    with shown:
        shown.started(trial)
        shown.tick(*running(trial, 25, 100))
        shown.ended(trial, done(trial))
    text = stream.getvalue()
    assert "all trials" in text and f"{NAME}: accuracy 80.0 (0 s)" in text and "about 3 min left" in text
