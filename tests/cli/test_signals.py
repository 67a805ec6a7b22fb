"""Signals before anything trains: a command ends as by Ctrl-C and gives its locks back."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from repro.cli.main import main
from repro.trials.lifecycle import Attempt


@pytest.fixture
def _handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_trial_that_is_ended_while_it_reads_leaves_nothing(
    number: signal.Signals, trial_arguments: Callable[..., list[str]], tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    locked = []

    def read(self: Attempt) -> None:
        locked.append((self.folder / "lock").is_file())
        signal.raise_signal(number)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Attempt, "read", read)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    words = [f"paths.{name}_root={tmp_path}/{name}" for name in ("results", "runs")]
    monkeypatch.setattr(sys, "argv", ["repro", "run", *trial_arguments(*words)])
    assert main() == 130 and locked == [True]
    assert not (tmp_path / "runs").exists() and not (tmp_path / "results").exists()
