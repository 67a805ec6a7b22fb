"""What a trial keeps of a split: low-data draws and fractions against the rule written out, and what is refused."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from repro.config.schema import LowData, SplitLimits
from repro.errors import ConfigError, DataError
from repro.tasks.subsets import Selection, kept_positions

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


@pytest.mark.parametrize(("size", "dev"), [(50, 15), (100, 30), (200, 60), (500, 150)])
def test_the_papers_sizes(size, dev):
    """Li and Liang 2021, section 6.3: a validation set of 30 % of the training size; the test set is whole."""
    chosen = Selection(low_data={"size": size})
    assert len(chosen.positions("train", 42061)) == size
    assert len(chosen.positions("validation", 547)) == dev
    assert chosen.positions("test", 630) == list(range(630))


@pytest.mark.parametrize(("fraction", "number"), [(0.1, 4206), (0.2, 8412), (0.4, 16824), (0.6, 25237), (0.8, 33649)])
def test_the_papers_fractions(fraction, number):
    chosen = Selection(fraction=fraction)
    assert len(chosen.positions("train", 42061)) == number
    assert chosen.positions("validation", 547) == list(range(547))
    assert Selection(fraction=1.0).positions("train", 9) == list(range(9))
    assert len(Selection(fraction=0.01).positions("train", 9)) == 1


@UNHURRIED
@given(total=st.integers(1, 300), size=st.integers(1, 300), subset=st.integers(0, 200))
def test_a_draw_is_ordered_nested_and_its_own(total, size, subset):
    chosen = Selection(low_data={"size": size, "subset": subset, "dev_fraction": None})
    if size > total:
        with pytest.raises(DataError, match=rf"task\.low_data\.size={size} .*has {total}"):
            chosen.positions("train", total)
        return
    kept = chosen.positions("train", total)
    assert kept == sorted(set(kept)) and len(kept) == size and set(kept) <= set(range(total))
    assert kept == Selection(low_data={"size": size, "subset": subset}).positions("train", total)
    smaller = Selection(low_data={"size": max(1, size // 2), "subset": subset})
    assert set(smaller.positions("train", total)) <= set(kept)
    assert chosen.positions("validation", total) == list(range(total))


def test_subsets_differ_and_are_no_limits():
    draws = [Selection(low_data={"size": 50, "subset": subset}).positions("train", 1000) for subset in range(5)]
    draws.append(kept_positions(1000, "train", SplitLimits(train=50, seed=0)))
    draws.append(Selection(low_data={"size": 200, "dev_fraction": 0.25}).positions("validation", 1000))
    assert len({tuple(draw) for draw in draws}) == 7
    assert draws[0] == Selection(fraction=0.05).positions("train", 1000), "a fraction is the same draw by its size"


def test_any_config_shape():
    low = LowData(size=5, subset=1, dev_fraction=None)
    kept = [Selection(low_data=shape).positions("train", 99) for shape in (low, vars(low), OmegaConf.structured(low))]
    assert kept[0] == kept[1] == kept[2]


def test_what_was_left_out_is_said():
    assert Selection().deviation("train", 9, 9) is None
    assert Selection(limit={"train": 3}).deviation("train", 3, 9) == "train: 3 of 9 examples (task.limit.train)."
    low = Selection(low_data={"size": 3, "subset": 4})
    assert "3 of 9 examples (task.low_data, our draw 4" in low.deviation("train", 3, 9)
    assert "1 of 9 examples (task.low_data, our draw 4" in low.deviation("validation", 1, 9)
    assert "(task.fraction, our draw 0" in Selection(fraction=0.5).deviation("train", 5, 9)
    both = Selection(limit={"test": 2}, low_data={"size": 3})
    assert both.positions("test", 9) == [0, 1]
    assert both.deviation("test", 2, 9) == "test: 2 of 9 examples (task.limit.test)."


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"low_data": {"size": 0}}, r"task\.low_data\.size is 0"),
        ({"low_data": {"size": 5, "subset": -1}}, r"task\.low_data\.subset is -1"),
        ({"low_data": {"size": 5, "dev_fraction": 0}}, r"task\.low_data\.dev_fraction is 0"),
        ({"fraction": 0}, r"task\.fraction is 0"),
        ({"fraction": 10}, r"task\.fraction is 10.*0\.1 is 10 %"),
        ({"fraction": 0.1, "low_data": {"size": 5}}, r"task\.low_data\.size=5 and task\.fraction=0\.1 both"),
        ({"limit": {"train": 5}, "low_data": {"size": 5}}, r"task\.limit\.train=5 both cut the train split"),
        ({"limit": {"validation": 5}, "low_data": {"size": 5}}, r"task\.limit\.validation=5 both.*dev_fraction=null"),
        ({"limit": {"train": 5}, "fraction": 0.1}, r"task\.fraction=0\.1 and task\.limit\.train=5"),
    ],
)
def test_settings_that_cannot_be(settings, said):
    with pytest.raises(ConfigError, match=said):
        Selection(**settings)
