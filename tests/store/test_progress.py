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


def test_a_folder_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path / "gone", 10)
    file.trained(1, 0.5)
    file.close()
    progress.remove(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []


def test_the_curve_is_the_mean_of_equal_stretches(tmp_path: Path) -> None:
    """However many steps: at most POINTS points, each the mean of its own steps, counted out."""
    losses = [10.0 / (1 + step % 37) for step in range(1000)]
    for count in (1, 2, 63, 64, 65, 66, 127, 128, 129, 500, 999, 1000):
        file = ProgressFile(tmp_path / str(count), 1000)
        (tmp_path / str(count)).mkdir()
        for step in range(count):
            file.trained(step + 1, losses[step])
        file.close()
        found = progress.read(tmp_path / str(count))
        assert found is not None and 1 <= len(found.losses) <= progress.POINTS
        every = found.losses_every
        stretches = [losses[start : start + every] for start in range(0, count - every + 1, every)]
        assert found.losses == [pytest.approx(sum(one) / every) for one in stretches]


def test_a_continued_curve_is_that_of_an_undisturbed_trial(tmp_path: Path) -> None:
    curves = []
    for stretches in ([(1, 200)], [(1, 150), (129, 200)]):
        folder = tmp_path / str(len(stretches))
        folder.mkdir()
        for first, last in stretches:
            file = ProgressFile(folder, 200)
            for step in range(first, last + 1):
                file.trained(step, 1.0 / step)
            file.close()
        curves.append(progress.read(folder))
    assert curves[0] is not None and curves[1] is not None
    assert curves[0].losses == pytest.approx(curves[1].losses) and curves[0].losses_every == curves[1].losses_every


def test_name_and_score_are_told_and_old_files_are_read(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path, 10, name="p_tuning_v2 minilm cb seed 1")
    file.trained(1, math.nan)
    file.evaluated("validation accuracy 62.50")
    file.close()
    found = progress.read(tmp_path)
    assert found is not None
    assert (found.name, found.score) == ("p_tuning_v2 minilm cb seed 1", "validation accuracy 62.50")
    assert found.losses == [None]
    old = {"step": 1, "steps": 2, "loss": 0.5, "seconds_per_step": None, "phase": "training", "written": 0.0}
    (tmp_path / "progress.json").write_text(json.dumps(old))
    found = progress.read(tmp_path)
    assert found is not None and (found.losses, found.name) == ([], None)
