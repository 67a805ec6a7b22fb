"""An experiment's trials: composed as `repro run` composes them, each once, in stages."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.compose import trial_config
from repro.config.run_key import run_key
from repro.errors import ConfigError
from repro.sweeps import experiments
from repro.sweeps.composing import composed as composed_quickly
from repro.sweeps.expand import Trials

SECOND = {
    "method": "p_tuning_v2",
    "model": "tiny-bert",
    "task": "conll04",
    "method.length": "4",
    "seed": "1,2",
    "after": {"method": "p_tuning_v2", "model": "{model}", "task": "mpt_ner_open", "method.length": 4, "seed": 1},
}


@pytest.mark.parametrize("name", ["lester2021/figure3c", "liu2022/figure3", "liliang2021/table2", "offline/cb"])
def test_trials_are_composed_as_hydra_composes_them(name: str, composed: Callable[..., Any]) -> None:
    planned = experiments.load(name).planned()
    for trial in random.Random(0).sample(planned, min(4, len(planned))):
        config = trial_config(composed(*trial.words))
        assert composed_quickly(dict(word.split("=", 1) for word in trial.words)) == config
        assert trial.key == run_key(config)


def test_a_trial_stands_once_whichever_grids_have_it() -> None:
    grid = {"method": "p_tuning_v2", "model": "tiny-bert", "task": "rte,cb", "seed": "1,2"}
    assert len(Trials([grid, grid | {"task": "rte"}], {}).planned()) == 4


def test_setting_a_value_leaves_other_trials_alone() -> None:
    base = {"method": "p_tuning_v2", "model": "tiny-bert", "task": "rte"}
    before = composed_quickly(base)
    changed = composed_quickly(base | {"trainer.optimiser.learning_rate": "1", "trainer.evaluate_every": "3"})
    assert changed.trainer.optimiser.learning_rate == 1.0 and changed.trainer.evaluate_every == "3"
    assert composed_quickly(base) == before and before.trainer.evaluate_every == "epoch"


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"method": "p_tuning_v2", "model": "tiny-bert", "task": "nope"}, "task=nope: there is no such file"),
        ({"method": "p_tuning_v2", "model": "tiny-bert", "task": "rte", "method.lenght": "3"}, "has no such key"),
        ({"method": "p_tuning_v2", "model": "tiny-bert", "task": "rte", "method.length": "abc"}, "a whole number"),
        ({"method": "p_tuning_v2", "model": "tiny-bert", "task": "rte", "method.length": "0"}, "method.length=0"),
    ],
)
def test_what_cannot_run_is_refused_with_its_trial(grid: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Trials([grid], {}).planned()


def test_a_second_stage_waits_for_the_first(tmp_path: Path) -> None:
    trials = Trials([SECOND], {"paths.runs_root": str(tmp_path)})
    first, *rest = trials.planned()
    assert first.spec.config.task.name == "mpt_ner_open" and first.waits_for is None
    assert [(one.key, one.waits_for, one.start_task) for one in rest] == [(None, first.key, "mpt_ner_open")] * 2
    stages = list(trials.stages())
    assert [trial["task"] for trial in stages[0]()] == ["mpt_ner_open"]
    with pytest.raises(ConfigError, match="is not there"):
        stages[1]()

    prompt = tmp_path / str(first.key) / "prompt.safetensors"
    prompt.parent.mkdir()
    prompt.write_bytes(b"a prompt")
    started = stages[1]()
    assert [trial["seed"] for trial in started] == ["1", "2"]
    assert {trial["method.start_from"] for trial in started} == {str(prompt)}
    assert {trial["method.start_task"] for trial in started} == {"mpt_ner_open"}
    again = trials.planned()
    assert all(one.key and one.spec.config.method.start_sha256 for one in again[1:])


def test_search_grids_come_from_the_recipe() -> None:
    grid = {"method": "p_tuning_v2", "model": "roberta-large", "task": "cb,rte", "seed": "11", "search": True}
    planned = Trials([grid], {}).planned()
    search = [one for one in planned if one.search]
    assert len(search) == 3 * 6 * 6 and {one.spec.config.task.name for one in search} == {"cb"}
    assert len(planned) == len(search) + 1  # RTE has a released script
    assert len({one.key for one in planned}) == len(planned)


def test_names_and_papers() -> None:
    chosen = experiments.chosen(["liu2022", "offline/cb"], ["figure3", "cb"])
    assert [one.name for one in chosen] == ["liu2022/figure3", "offline/cb"]
    assert "Figure 3" in chosen[0].title and "repro run" not in chosen[0].title
    with pytest.raises(ConfigError, match="neither a paper"):
        experiments.chosen(["nope"])
    with pytest.raises(ConfigError, match="no exhibit figure9"):
        experiments.chosen(["liu2022"], ["figure9"])
    with pytest.raises(ConfigError, match="no such file"):
        experiments.load("liu2022/figure9")
    assert "offline/search-cb" not in experiments.names()
    with pytest.raises(ConfigError, match="repro run -m experiment=offline/search-cb"):
        experiments.chosen(["offline/search-cb"])
