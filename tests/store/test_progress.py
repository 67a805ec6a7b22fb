"""The file that says how far a running trial is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro.store import progress
from repro.store.progress import ProgressFile


@pytest.fixture
def clock() -> Iterator[list[float]]:
    yield [1000.0]


def test_it_is_written_at_once_and_then_now_and_then(tmp_path: Path, clock: list[float]) -> None:
    file = ProgressFile(tmp_path, 100, lambda: clock[0])
    seen = []
    for step in range(1, 11):
        file.trained(step, 2.0 - step / 10)
        found = progress.read(tmp_path)
        assert found is not None
        seen.append(found.step)
        clock[0] += 0.5
    assert seen == [1, 1, 1, 1, 5, 5, 5, 5, 9, 9]
    assert found is not None
    assert (found.steps, found.phase) == (100, "training") and found.loss == pytest.approx(1.1)
    assert found.seconds_per_step == pytest.approx(0.5)
    assert found.seconds_left == pytest.approx(0.5 * 91)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["progress.json"]


def test_an_evaluation_shows_and_the_end_is_always_written(tmp_path: Path, clock: list[float]) -> None:
    file = ProgressFile(tmp_path, 10, lambda: clock[0])
    file.trained(1, 0.5)
    clock[0] += 5
    file.evaluating()
    found = progress.read(tmp_path)
    assert found is not None and (found.phase, found.step, found.written) == ("evaluating", 1, 1005.0)
    file.trained(2, 0.4)
    file.close()
    found = progress.read(tmp_path)
    assert found is not None and (found.step, found.loss) == (2, 0.4)


def test_a_continued_trial_that_is_stopped_before_its_first_step_says_where_it_was(tmp_path: Path) -> None:
    ProgressFile(tmp_path, 10).trained(4, 0.5)
    ProgressFile(tmp_path, 10).evaluating()
    found = progress.read(tmp_path)
    assert found is not None and (found.step, found.loss, found.seconds_left) == (4, 0.5, None)


def test_a_clock_that_is_set_back_does_not_silence_it(tmp_path: Path, clock: list[float]) -> None:
    file = ProgressFile(tmp_path, 10, lambda: clock[0])
    file.trained(1, 0.5)
    clock[0] -= 3600
    file.trained(2, 0.5)
    found = progress.read(tmp_path)
    assert found is not None and found.step == 2


def test_a_loss_that_is_no_number_is_none(tmp_path: Path) -> None:
    ProgressFile(tmp_path, 10).trained(1, math.nan)
    assert json.loads((tmp_path / "progress.json").read_text())["loss"] is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 1}', "null"])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.json").write_text(text)
    assert progress.read(tmp_path) is None
    assert progress.read(tmp_path / "nowhere") is None


def test_a_folder_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path / "gone", 10)
    file.trained(1, 0.5)
    file.close()
    progress.remove(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []
