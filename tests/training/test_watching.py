"""The console: signals, lines where there is no terminal, a bar where there is one."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from repro.errors import Interrupted
from repro.store import progress
from repro.store.progress import ProgressFile
from repro.training import progress as watching
from repro.training.checkpoint import Progress
from repro.training.progress import Console


class Nobody:
    """A tracker that nobody looks at."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        pass


ROW = {"step": 3, "epoch": 1.0, "train_loss": 0.25, "learning_rate": 0.1, "validation": {"accuracy": 62.5, "f1": 50.0}}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_waits_for_the_step_to_end_and_saves_once(number: signal.Signals) -> None:
    saved: list[int] = []
    with Console("toy", 5, Nobody()) as console:
        console.stop_if_asked(lambda: saved.append(1))
        console.between(3)
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match="toy"):
            console.stop_if_asked(lambda: saved.append(2))
    assert saved == [2]


def test_a_signal_during_an_evaluation_ends_it() -> None:
    with Console("toy", 5, Nobody()) as console:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            console.between(3)


def test_a_second_ctrl_c_does_not_wait() -> None:
    with Console("toy", 5, Nobody()):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in progress.SIGNALS]
    with pytest.raises(ZeroDivisionError), Console("toy", 5, Nobody()):
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in progress.SIGNALS] == before


def test_whoever_looks_on_from_elsewhere_sees_the_last_step(tmp_path: Path) -> None:
    with Console("toy", 5, Nobody(), ProgressFile(tmp_path, 5)) as console:
        console.step(Progress(step=1, tokens=10), 1.5)
        first = progress.read(tmp_path)
        console.step(Progress(step=2, tokens=20), 1.25)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            console.stop_if_asked(lambda: None)
    last = progress.read(tmp_path)
    assert first is not None and last is not None
    assert [(one.step, one.steps, one.loss) for one in (first, last)] == [(1, 5, 1.5), (2, 5, 1.25)]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(watching, "LINE_SECONDS", -1.0)
    with Console("toy", 5, Nobody()) as console:
        for step in (1, 2, 3):
            console.step(Progress(step=step, tokens=100 * step), 1.5)
        console.evaluated(Progress(step=3), ROW)
        console.evaluated(Progress(step=3), ROW | {"train_loss": None})
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "epoch 1  loss 0.250  validation accuracy 62.50  validation f1 50.00" in printed.err
    assert "epoch 1  validation accuracy" in printed.err
    if not terminal:
        assert "toy: step 2/5  loss 1.500" in printed.err and " s left" in printed.err


def test_lines_are_rare_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Console("toy", 100, Nobody()) as console:
        for step in range(1, 101):
            console.step(Progress(step=step, tokens=step), 1.0)
    assert len(capsys.readouterr().err.splitlines()) == 1
