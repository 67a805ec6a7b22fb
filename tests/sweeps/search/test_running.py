"""A search over a made-up objective: budget, resuming, failures, and that no test score has a say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repro.config.schema import TrialConfig
from repro.errors import ConfigError
from repro.store.record import Record
from repro.store.searches import journal, summary
from repro.store.searches.journal import Sampler, Search
from repro.store.searches.outcomes import Outcome, Tried, outcome, value_of
from repro.store.store import Store
from repro.sweeps.composing import spec_of
from repro.sweeps.search.command_line import SearchSettings, searching
from repro.trials.spec import TrialSpec
from tests.sweeps.conftest import Capsys

LR = "trainer.optimiser.learning_rate"
SPACE = {LR: "tag(log, interval(1e-5,1e-1))", "method.length": "choice(1,4,8,16)"}
SAMPLER = {"name": "tpe", "seed": 0, "startup": 3}


class Killed(Exception):
    """In place of a signal."""


class World:
    """Composes trials of a tiny model, and makes up what they come to: an executor without a model."""

    returns_early = False

    def __init__(self, root: Path, test_score: Callable[[float], float] = lambda value: value):
        self.root, self.store, self.test_score = root, Store(root / "results" / "records"), test_score
        self.ran: list[str] = []
        self.fails: Callable[[TrialConfig], bool] = lambda config: False
        self.killed_after: int | None = None
        self.leaves_records = True

    def compose(self, words: Sequence[str]) -> TrialSpec:
        folders = {f"paths.{name}_root": str(self.root / name) for name in ("results", "runs")}
        trial = {"method": "p_tuning_v2", "model": "tiny-bert", "task": "cb", "task.report_split": "validation"}
        known = [word for word in words if not word.startswith("task.hub_token=")]  # the schema has no such key
        spec = spec_of(trial | folders | dict(word.split("=", 1) for word in known))
        if spec.config.to_dict()["method"]["length"] == 16:
            raise ConfigError("method.length=16: too long.")
        return replace(spec, command=tuple(words))

    def record(self, spec: TrialSpec) -> Record:
        config = spec.config
        if self.fails(config):
            return Record(spec.key, "failed", config.to_dict(), config.seed, reason="the loss is NaN.")
        length, rate = config.to_dict()["method"]["length"], config.trainer.optimiser.learning_rate
        value = 80 - 10 * abs(math.log10(rate) + 3) - length / 10 + config.seed
        selection = {"split": "validation", "metric": "accuracy", "value": value}
        metrics = {"validation": {"accuracy": value}, "test": {"accuracy": self.test_score(value)}}
        return Record(spec.key, "done", config.to_dict(), config.seed, selection=selection, metrics=metrics)

    def run(self, specs: Sequence[TrialSpec], on_result: object) -> None:
        for spec in specs:
            if self.killed_after is not None and len(self.ran) >= self.killed_after:
                raise Killed
            self.ran.append(" ".join(spec.command))
            if self.leaves_records:
                self.store.put(self.record(spec))

    def search(self, budget: int, batch: int = 1, words: Sequence[str] = (), **about: Any) -> Search:
        with searching(
            words,
            SearchSettings(space=SPACE, n_trials=budget, batch=batch, sampler=Sampler(**SAMPLER), **about),
            self.compose,
            self,
        ) as run:
            run.run()
        return run.search


def proposed(search: Search) -> list[dict[str, str]]:
    return [one.values for one in search.settings]


def test_the_budget_is_spent_and_every_trial_is_a_record(tmp_path: Path) -> None:
    world = World(tmp_path)
    search = world.search(12)
    assert len(search.settings) == 12
    refused = [one for one in search.settings if one.refused is not None]
    assert all(one.values["method.length"] == "16" and one.keys == [] for one in refused)
    assert len(world.ran) == 12 - len(refused) == len(list(world.store.records()))
    for one in search.settings:
        words = [f"{name}={value}" for name, value in one.values.items()]
        if one.refused is None:
            assert one.keys == [world.compose(words).key], "the key of the trial as a person would run it"
    tried = search.outcomes(world.store)
    best = summary.chosen(tried, search.direction)
    assert best is not None, "the choice is the best on validation"
    assert tried[best].outcome.value == max(one.outcome.value for one in tried if one.outcome.value is not None)
    assert str(tmp_path) not in (tmp_path / "results/searches" / f"{search.id}.json").read_text()


@pytest.mark.parametrize("batch", [1, 4])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path, batch: int) -> None:
    undisturbed = World(tmp_path / "a")
    wanted = proposed(undisturbed.search(14, batch))
    world = World(tmp_path / "b")
    for stop in (0, 3, 7):
        world.killed_after = stop
        with pytest.raises(Killed):
            world.search(14, batch)
    world.killed_after = None
    assert proposed(world.search(14, batch)) == wanted
    assert len(world.ran) == len(set(world.ran)), "nothing ran twice"
    assert proposed(world.search(14, batch)) == wanted
    assert len(world.ran) == len(undisturbed.ran), "a finished search runs nothing"


def test_a_larger_budget_continues_and_a_lost_file_is_made_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = proposed(world.search(6))
    count = len(world.ran)
    more = world.search(10)
    assert proposed(more)[:6] == first and len(more.settings) == 10
    assert more.id == world.search(10).id
    (file,) = (tmp_path / "results" / "searches").glob("*.json")
    file.unlink()
    ran = len(world.ran)
    assert proposed(world.search(10)) == proposed(more)
    assert len(world.ran) == ran > count, "from the records that are there"


def test_its_file_holds_no_secret_and_is_found_again(tmp_path: Path) -> None:
    """Planted in overrides, in a URL, in the name (and so in the file's), and in why a setting was refused."""
    secrets = ("hf_" + "aB3dE5gH7jK9mN1pQ3sT5vX7", "correct-horse-battery", "ghp_" + "q1w2e3r4t5y6u7i8o9p0")
    given = [f"task.hub_token={secrets[1]}", f"model.location=https://jo:{secrets[1]}@hub.example/m", "model.note=7"]
    world = World(tmp_path)
    composed = world.compose

    def compose(words: Sequence[str]) -> TrialSpec:
        if any(word.startswith("method.length=4") for word in words):
            raise ConfigError(f"model.location=https://jo:{secrets[1]}@hub.example/m: there is no {secrets[0]}")
        return composed(words)

    world.compose = compose  # type: ignore[method-assign]
    search = world.search(8, words=given, name=f"by {secrets[2]}")
    ran = len(world.ran)
    assert all(f"task.hub_token={secrets[1]}" in words for words in world.ran), "the trials themselves need it"
    assert any("there is no ***" in (one.refused or "") for one in search.settings)
    (file,) = (tmp_path / "results" / "searches").iterdir()
    for secret in secrets:
        assert secret not in file.read_text() and secret.lower() not in file.name.replace("-", "_")
    held = journal.read(file)
    assert held.fixed == ["task.hub_token=***", "model.location=https://***@hub.example/m", "model.note=7"]
    assert held.id == search.id == file.stem
    assert proposed(world.search(8, words=given, name=f"by {secrets[2]}")) == proposed(search)
    assert len(world.ran) == ran and len(list(file.parent.iterdir())) == 1


def test_a_trial_that_was_run_by_hand_is_not_run_again(tmp_path: Path) -> None:
    world = World(tmp_path / "a")
    search = world.search(4)
    other = World(tmp_path / "b")
    by_hand = next(one for one in search.settings if one.refused is None)
    other.store.put(other.record(other.compose([f"{name}={value}" for name, value in by_hand.values.items()])))
    assert proposed(other.search(4)) == proposed(search)
    assert len(other.ran) == len(world.ran) - 1


def test_failed_settings_count_and_are_not_repeated(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fails = lambda config: config.trainer.optimiser.learning_rate > 1e-2
    search = world.search(12)
    outcomes = [one.outcome for one in search.outcomes(world.store)]
    failed = [one for one in outcomes if one.reason == "the loss is NaN."]
    assert failed and all(one.status == "failed" and one.value is None for one in failed)
    ran = len(world.ran)
    world.search(12)
    assert len(world.ran) == ran
    told = summary.lines(search, world.store, True)
    assert f"12 settings tried of 12, {sum(one.status == 'failed' for one in outcomes)} failed" in told


def test_no_test_score_has_a_say(tmp_path: Path) -> None:
    """The same validation values beside any test scores: the same proposals, the same choice."""
    world = World(tmp_path / "plain")
    search = world.search(15)
    for name, score in {"reversed": lambda value: 100 - value, "nan": lambda value: math.nan}.items():
        other = World(tmp_path / name, score)
        found = other.search(15)
        assert proposed(found) == proposed(search)
        assert found.outcomes(other.store) == search.outcomes(world.store)


def test_selection_on_test_is_refused_before_anything_runs(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(
        ConfigError, match=r"trainer\.selection\.split=test: .* Set trainer\.selection\.split=validation"
    ):
        world.search(3, words=["trainer.selection.split=test"])
    assert world.ran == [] and not (tmp_path / "results").exists()
    record = world.record(world.compose([f"{LR}=0.001"]))
    record.selection = record.selection | {"split": "test", "value": 99.0}
    with pytest.raises(ConfigError, match="selected its checkpoint on the test split"):
        value_of(record)


def test_seeds_are_averaged_and_one_failed_seed_fails_the_setting(tmp_path: Path) -> None:
    world = World(tmp_path)
    search = world.search(5, seeds=[1, 2, 3])
    for setting, tried in zip(search.settings, search.outcomes(world.store), strict=True):
        if setting.refused is None:
            values = [world.store.get(key).selection["value"] for key in setting.keys]  # type: ignore[union-attr]
            assert len(values) == 3 and tried.outcome.value == pytest.approx(sum(values) / 3)
            assert values[1] - values[0] == pytest.approx(1), "the seeds differ"
    done = Record("a", "done", {}, 1, selection={"split": "validation", "value": 3.0})
    assert outcome([done, None]) == Outcome("open")
    assert outcome([done, Record("b", "failed", {}, 2, reason="NaN")]) == Outcome("failed", None, "NaN")
    assert outcome([done, None, Record("b", "failed", {}, 2, reason="NaN")]).status == "failed"
    assert outcome([done, replace(done, selection={"split": "validation"})]).status == "failed"
    with pytest.raises(ConfigError, match="leave one of them out"):
        world.search(5, seeds=[1, 2], words=["seed=3"])


def test_the_last_checkpoint_is_judged_by_its_own_validation_score() -> None:
    record = Record("a", "done", {}, 1, selection={"rule": "last", "split": "validation", "metric": "accuracy"})
    record.metrics = {"validation": {"accuracy": 61.0}, "test": {"accuracy": 99.0}}
    assert value_of(record) == 61.0


def test_losses_are_minimised_and_unknown_metrics_ask(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.search(2).direction == "maximize"
    assert world.search(2, words=["trainer.selection.metric=loss"]).direction == "minimize"
    tried = [Tried({"a": "1"}, Outcome("done", 2.0)), Tried({"a": "2"}, Outcome("done", 1.0))]
    assert (summary.chosen(tried, "maximize"), summary.chosen(tried, "minimize")) == (0, 1)
    plain_compose = world.compose

    def own_metric(words: Sequence[str]) -> TrialSpec:
        spec = plain_compose(words)
        config = spec.config.with_value("task.metrics", [{"name": "mine"}])
        return replace(spec, config=config.with_value("trainer.selection.metric", "mine"))

    world.compose = own_metric  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.direction=null: set it to maximize or minimize"):
        world.search(2)
    assert world.search(2, direction="minimize").direction == "minimize"


def test_trials_that_run_elsewhere_are_waited_for_by_the_next_call(tmp_path: Path) -> None:
    """A launcher that submits and returns: each call submits one batch, and proposes when that has its records."""
    world = World(tmp_path)
    world.leaves_records, world.returns_early = False, True
    search = world.search(8, 4)
    assert len(search.settings) == 4
    ran = list(world.ran)
    assert len(world.search(8, 4).settings) == 4, "nothing new while the batch is open"
    for words in ran:
        world.store.put(world.record(world.compose(words.split())))
    assert len(world.search(8, 4).settings) == 8


def test_trials_without_records_end_the_search(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.leaves_records = False
    with pytest.raises(ConfigError, match="3 settings in a row left no record"):
        world.search(12)
    world.leaves_records = True
    assert len(world.search(12).settings) == 12, "the same command continues"
    assert all(one.outcome.status != "open" for one in world.search(12).outcomes(world.store))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    world = World(tmp_path)

    def again(specs: Sequence[TrialSpec], on_result: object) -> None:
        with pytest.raises(ConfigError, match="another process runs it"):
            World(tmp_path).search(2)
        World.run(world, specs, on_result)

    world.run = again  # type: ignore[method-assign]
    world.search(2)


def test_a_small_space_ends_the_search(tmp_path: Path, capsys: Capsys) -> None:
    world = World(tmp_path)
    search = world.search(50, words=[f"{LR}=0.001"])
    assert sorted(one.values["method.length"] for one in search.settings) == ["1", "16", "4", "8"]
    assert "nothing new is left to try after 4 settings" in capsys.readouterr().out


def test_what_is_searched_decides_which_search_it_is(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = world.search(2)
    assert world.search(3).id == one.id, "the budget"
    assert world.search(2, words=["trainer.threads=1"]).id == one.id, "what changes no result"
    others = [world.search(2, words=["trainer.batch_size=3"]), world.search(2, seeds=[5]), world.search(2, name="x")]
    assert len({one.id, *(other.id for other in others)}) == 4
    assert [found.id for found in journal.all_of(tmp_path / "results")] == sorted({one.id, *(o.id for o in others)})


def test_expected_best_is_that_of_random_draws() -> None:
    """Against all draws with replacement, counted out."""
    import itertools

    values = (3.0, 1.0, 7.0, 2.0)
    for direction, best in (("maximize", max), ("minimize", min)):
        spread = summary.Distribution(values, direction)
        for draws in (1, 2, 3):
            found = [best(drawn) for drawn in itertools.product(values, repeat=draws)]
            assert spread.expected_best(draws) == pytest.approx(sum(found) / len(found))


def test_quantiles_are_numpys() -> None:
    import numpy as np

    values = tuple(float(x) for x in np.random.default_rng(0).normal(size=17))
    spread = summary.Distribution(values, "maximize")
    for share in (0.0, 0.1, 0.25, 0.5, 0.77, 1.0):
        assert spread.quantile(share) == pytest.approx(np.quantile(values, share))
