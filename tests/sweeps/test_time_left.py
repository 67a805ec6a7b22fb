"""The time left: arithmetic written out."""

from __future__ import annotations

import pytest

from repro.sweeps.executors.time_left import Clock, minutes


def test_nothing_known_gives_the_expectation_shared_by_the_workers() -> None:
    clock = Clock({"a": 30.0, "b": 20.0, "c": 10.0}, workers=2)
    assert (clock.factor, clock.share, clock.left) == (1.0, 0.0, 30.0)  # 60 / 2, and no trial is longer than that


def test_what_ended_tells_how_fast_this_machine_is() -> None:
    clock = Clock({"a": 30.0, "b": 20.0, "c": 10.0}, workers=1, taken={"a": 60.0})
    assert clock.factor == 2.0
    assert clock.share == 0.5
    assert clock.left == pytest.approx(2 * (20 + 10))


def test_a_running_trial_counts_with_its_share_and_one_that_loads_with_nothing() -> None:
    clock = Clock({"a": 30.0, "b": 20.0}, workers=2, running={"a": (30.0, 0.5), "b": (5.0, 0.0)})
    assert clock.factor == pytest.approx(30 / 15)
    assert clock.share == pytest.approx(15 / 50)
    assert clock.left == pytest.approx(2 * max((15 + 20) / 2, 15, 20)), "the longest of the running ones ends last"


def test_a_trial_that_failed_tells_nothing_of_the_speed() -> None:
    clock = Clock({"a": 30.0, "b": 20.0, "c": 10.0}, workers=1, running={"a": (3.0, 0.1), "b": (20.0, 1.0)})
    clock.over("a", None)
    clock.over("b", 20.0)
    assert clock.running == {} and (clock.factor, clock.left) == (1.0, 10.0)
    assert clock.share == pytest.approx(20 / 30)


def test_the_end() -> None:
    clock = Clock({"a": 3.0}, workers=2, taken={"a": 1.0})
    assert (clock.share, clock.left) == (1.0, 0.0)
    assert Clock({}, workers=2).share == 1.0


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (90, "about 2 min"), (600, "about 10 min")])
def test_a_time_in_words(seconds: float, text: str) -> None:
    assert minutes(seconds) == text
