"""A search space is read as Hydra reads sweeps, and what is proposed stays in it."""

from __future__ import annotations

import random

import pytest

from repro.errors import ConfigError
from repro.store.searches.journal import Sampler
from repro.store.searches.outcomes import Outcome, Tried
from repro.sweeps.search import space
from repro.sweeps.search.command_line import first_words, split_words
from repro.sweeps.search.proposals import propose

LR = "trainer.optimiser.learning_rate"


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        ("a,b", {"a", "b"}),
        ("choice(4,16)", {"4", "16"}),
        ("'x y',null,true", {"'x y'", "null", "True"}),
        ("range(8,32,8)", {"8", "16", "24"}),  # as Hydra's own sweep: the end is not in it
        ("range(3)", {"0", "1", "2"}),
        ("range(0,1,0.25)", {"0.0", "0.25", "0.5", "0.75"}),
        ("int(interval(1,4))", {"1", "2", "3", "4"}),
        ("tag(log, int(interval(1,4)))", {"1", "2", "3", "4"}),
    ],
)
def test_every_value_of_a_finite_dimension_is_proposed_once_and_no_other(text: str, legal: set[str]) -> None:
    one = space.dimension("method.length", text)
    assert one is not None
    tried: list[Tried] = []
    while (found := propose([one], tried, Sampler("random"), len(tried), "maximize")) is not None:
        tried.append(Tried(found, Outcome("done", 0.0)))
        assert len(tried) <= len(legal)
    assert {tuple(one.values.values()) for one in tried} == {(value,) for value in legal}
    assert len(tried) == len(legal)


@pytest.mark.parametrize(("text", "low", "high"), [("interval(0.0,0.3)", 0, 0.3), ("interval(1, 2.5)", 1, 2.5)])
def test_real_numbers_stay_inside_with_few_digits(text: str, low: float, high: float) -> None:
    one = space.dimension(LR, text)
    assert one is not None and not one.whole
    for number in range(25):
        found = propose([one], [], Sampler("random", seed=number), 0, "maximize")
        assert found is not None
        assert low <= float(found[LR]) <= high
        assert len(found[LR].replace(".", "").lstrip("0").rstrip("0")) <= space.DIGITS
        assert one.shown(one.value(found[LR])) == found[LR]


def test_a_logarithmic_interval_is_even_over_decades() -> None:
    one = space.dimension(LR, "tag(log, interval(1e-5,1e-1))")
    assert one is not None
    drawn = [float(propose([one], [], Sampler("random", seed=n), 0, "maximize")[LR]) for n in range(100)]  # type: ignore[index]
    below = sum(value < 1e-3 for value in drawn)
    assert 30 < below < 70, "half of the decades are below 1e-3; 4 standard deviations"
    assert min(drawn) >= 1e-5 and max(drawn) <= 1e-1


def test_rounding_never_leaves_the_interval() -> None:
    one = space.dimension(LR, "interval(0.12345,0.12346)")
    assert one is not None
    assert {one.shown(value) for value in (0.12345, 0.123455, 0.12346)} <= {"0.12345", "0.12346", "0.1235", "0.1234"}
    assert all(0.12345 <= float(one.shown(value)) <= 0.12346 for value in (0.12345, 0.123455, 0.12346))


@pytest.mark.parametrize("text", ["3", "'a,b'", "null", "[1,2]", "p_tuning_v2"])
def test_one_value_is_fixed(text: str) -> None:
    assert space.dimension("method.length", text) is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (LR, "interval(1e-3", "is no search space. Say choice"),
        (LR, "tag(log, interval(0,1))", "above 0 for log"),
        (LR, "interval(2,1)", "lower end must be below"),
        (LR, "tag(lin, interval(1,2))", "the tag lin means nothing"),
        (LR, "range(3,3)", "empty"),
        ("seed", "1,2", "hydra.sweeper.seeds"),
        ("task", "cb,rte", "different tasks cannot be compared"),
        ("trainer.selection.split", "validation,test", "changes what is measured"),
        ("task.report_split", "validation,test", "changes what is measured"),
        ("task.limit.validation", "10,20", "changes what is measured"),
    ],
)
def test_what_cannot_be_searched_is_refused(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        space.dimension(name, text)


def test_the_command_line_replaces_and_adds_dimensions() -> None:
    texts = {LR: "interval(0.1,0.2)", "method.length": "choice(4,8)", "trainer.batch_size": "16"}
    dimensions, fixed = split_words(["+a=b", "method.length=4", "method.dropout=0.0,0.1", "experiment=x"], texts)
    assert [one.name for one in dimensions] == ["method.dropout", LR], "sorted: the order of words changes no proposal"
    assert sorted(fixed) == ["+a=b", "experiment=x", "method.length=4", "trainer.batch_size=16"]
    assert first_words(dimensions, fixed) == [*fixed, "method.dropout=0.0", f"{LR}=0.1"]


def test_proposals_are_a_function_of_what_was_tried() -> None:
    one = space.dimension(LR, "tag(log, interval(1e-5,1e-1))")
    two = space.dimension("method.length", "choice(4,8,16,32)")
    assert one is not None and two is not None
    generator = random.Random(0)
    tried: list[Tried] = []
    for number in range(25):
        found = propose([one, two], tried, Sampler("tpe", 3, 5), number, "maximize")
        assert found is not None and found == propose([one, two], list(tried), Sampler("tpe", 3, 5), number, "maximize")
        states = [Outcome("done", generator.random()), Outcome("failed"), Outcome("open")]
        tried.append(Tried(found, states[generator.randrange(3)]))
    assert len({tuple(sorted(one.values.items())) for one in tried}) == 25
    other = propose([one, two], tried, Sampler("tpe", 4, 5), 25, "maximize")
    assert other != propose([one, two], tried, Sampler("tpe", 3, 5), 25, "maximize")


def test_the_model_finds_the_good_region_and_heeds_the_direction() -> None:
    """Values fall with the distance from 1e-2 in decades: proposals of the model are nearer to it than random ones."""
    import math

    one = space.dimension(LR, "tag(log, interval(1e-6,1.0))")
    assert one is not None
    for direction, sign in (("maximize", -1), ("minimize", 1)):
        tried: list[Tried] = []
        for number in range(40):
            found = propose([one], tried, Sampler("tpe", 1, 10), number, direction)
            assert found is not None
            distance = abs(math.log10(float(found[LR])) + 2)
            tried.append(Tried(found, Outcome("done", sign * distance)))
        distances = [abs(one.outcome.value or 0.0) for one in tried]
        assert sum(distances[20:]) / 20 < sum(distances[:10]) / 10 / 2, direction
