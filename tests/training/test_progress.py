"""Progress output: signals, lines where there is no terminal, a bar where there is one."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from repro.errors import Interrupted
from repro.store.progress import ProgressFile, read
from repro.training import progress
from repro.training.checkpoint import Progress
from repro.training.progress import ProgressReporter


class NullTracker:
    """A tracker that drops everything."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        pass


ROW = {"step": 3, "epoch": 1.0, "train_loss": 0.25, "learning_rate": 0.1, "validation": {"accuracy": 62.5, "f1": 50.0}}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_waits_for_the_step_to_end_and_saves_once(number: signal.Signals) -> None:
    saved: list[int] = []
    with ProgressReporter("toy", 5, NullTracker()) as reporter:
        reporter.stop_if_asked(lambda: saved.append(1))
        reporter.between(3)
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match="toy"):
            reporter.stop_if_asked(lambda: saved.append(2))
    assert saved == [2]


@pytest.mark.parametrize("number", progress.SIGNALS)
def test_a_signal_during_an_evaluation_ends_it(number: signal.Signals) -> None:
    with ProgressReporter("toy", 5, NullTracker()) as reporter:
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            reporter.between(3)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ProgressReporter("toy", 5, NullTracker()) as reporter:
            os.kill(os.getpid(), signal.SIGHUP)
            reporter.between(3)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_does_not_wait() -> None:
    with ProgressReporter("toy", 5, NullTracker()):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in progress.SIGNALS]
    with pytest.raises(ZeroDivisionError), ProgressReporter("toy", 5, NullTracker()):
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in progress.SIGNALS] == before


def test_the_progress_file_holds_the_last_step(tmp_path: Path) -> None:
    with ProgressReporter("toy", 5, NullTracker(), ProgressFile(tmp_path, 5)) as reporter:
        reporter.step(Progress(step=1, tokens=10), 1.5)
        first = read(tmp_path)
        reporter.step(Progress(step=2, tokens=20), 1.25)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            reporter.stop_if_asked(lambda: None)
    last = read(tmp_path)
    assert first is not None and last is not None
    assert [(one.step, one.steps, one.loss) for one in (first, last)] == [(1, 5, 1.5), (2, 5, 1.25)]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)
    with ProgressReporter("toy", 5, NullTracker()) as reporter:
        for step in (1, 2, 3):
            reporter.step(Progress(step=step, tokens=100 * step), 1.5)
        reporter.evaluated(Progress(step=3), ROW)
        reporter.evaluated(Progress(step=3), ROW | {"train_loss": None})
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "epoch 1  loss 0.250  validation accuracy 62.50  validation f1 50.00" in printed.err
    assert "epoch 1  validation accuracy" in printed.err
    if not terminal:
        assert "toy: step 2/5  loss 1.500" in printed.err and " s left" in printed.err


def test_lines_are_rare_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReporter("toy", 100, NullTracker()) as reporter:
        for step in range(1, 101):
            reporter.step(Progress(step=step, tokens=step), 1.0)
    assert len(capsys.readouterr().err.splitlines()) == 1
