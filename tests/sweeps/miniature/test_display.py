"""Progress in lines and in bars."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from repro.sweeps.executors.time_left import Clock
from repro.sweeps.miniature import display
from repro.sweeps.miniature.planning import Job


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def crew(job: Job, step: int, of: int) -> Any:
    worker = SimpleNamespace(job=job, step=step, of=of)
    clock = Clock({job.key: 100.0, "other": 100.0}, 1, running={job.key: (25.0, step / of)})
    return SimpleNamespace(workers=[worker], clock=clock)


JOB = Job("k", "prompt_tuning mini-t5-s mini_rte seed 1", None, 100.0)


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    shown = display.display(2, stream)
    assert isinstance(shown, display.Lines)
    with shown:
        shown.started(JOB)
        shown.tick(crew(JOB, 25, 100))
        assert stream.getvalue() == "", "a line comes every few seconds only"
        monkeypatch.setattr(display, "LINE_SECONDS", 0.0)
        shown.tick(crew(JOB, 25, 100))
        shown.ended(JOB, "done", "accuracy 80.0", 41.2)
        shown.ended(JOB, "failed", "no weights", 1.0)
    lines = stream.getvalue().splitlines()
    # 25 of 200 expected seconds are done and took 25: the other 175 take as long as expected.
    assert lines[0] == f"12% done, about 3 min left. Running: {JOB.name}: step 25/100"
    assert lines[1:] == [f"1/2 {JOB.name}: accuracy 80.0 (41 s)", f"2/2 {JOB.name}: failed: no weights (1 s)"]


def test_bars_on_a_terminal() -> None:
    stream = Terminal()
    shown = display.display(2, stream)
    assert isinstance(shown, display.Bars)
    with shown:
        shown.started(JOB)
        shown.tick(crew(JOB, 25, 100))
        shown.ended(JOB, "done", "accuracy 80.0", 41.2)
    text = stream.getvalue()
    assert "all trials" in text and f"{JOB.name}: accuracy 80.0 (41 s)" in text and "about 3 min left" in text


def test_the_folder_of_logs_is_said_when_it_cannot_be_made(tmp_path: Path) -> None:
    from repro.errors import StoreError
    from repro.sweeps.executors.process_pool import Crew

    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--runs"), display.display(1, io.StringIO()) as shown:
        Crew([JOB], 1, tmp_path / "file" / "logs").run(shown)
