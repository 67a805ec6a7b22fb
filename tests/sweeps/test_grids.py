"""Grids: products, the command line over them, what `after` and `search` stand for."""

from __future__ import annotations

import itertools

import pytest

from repro.errors import ConfigError
from repro.sweeps import grids

GRID = {"method": "prompt_tuning", "task": "rte,cb", "method.length": "1,5", "seed": "range(2)", "search": True}


def test_a_grid_is_the_product_of_its_lists_in_their_order() -> None:
    wanted = [
        {"method": "prompt_tuning", "task": task, "method.length": length, "seed": seed}
        for task, length, seed in itertools.product(("rte", "cb"), ("1", "5"), ("0", "1"))
    ]
    assert grids.product(GRID) == wanted


def test_the_command_line_replaces_a_grids_own_values_and_adds_its_others() -> None:
    found = grids.product(GRID, {"task": "wic", "trainer.steps": "7"})
    assert {trial["task"] for trial in found} == {"wic"} and {trial["trainer.steps"] for trial in found} == {"7"}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a,b", ["a", "b"]), (3, ["3"]), (None, ["null"]), (True, ["True"]), ("range(1,4)", ["1", "2", "3"]),
     ("first:4,last:8", ["first\\:4", "last\\:8"]), ("5e-3,7e-3", ["0.005", "0.007"])],
)  # fmt: skip
def test_texts_of_values(text: object, wanted: list[str]) -> None:
    assert grids.values(text) == wanted


@pytest.mark.parametrize("text", ["a,b]", "{", "range("])
def test_a_text_that_is_no_sweep_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no value of a sweep"):
        grids.values(text)


def test_after_takes_the_trials_own_choices() -> None:
    grid = {"after": {"method": "p_tuning_v2", "model": "{model}", "task": "mpt_ner", "seed": "{seed}"}}
    trial = {"model": "minilm", "task": "conll04", "seed": "3"}
    wanted = {"method": "p_tuning_v2", "model": "minilm", "task": "mpt_ner", "seed": "3"}
    assert grids.earlier(grid, trial) == wanted
    assert grids.earlier({}, trial) is None
    with pytest.raises(ConfigError, match="no choice of its trials"):
        grids.earlier({"after": {"model": "{nothing}"}}, trial)


def test_a_search_multiplies_a_trial() -> None:
    found = grids.searched({"seed": "1"}, {"method.length": [4, 8], "trainer.epochs": [20]})
    assert found == [
        {"seed": "1", "method.length": "4", "trainer.epochs": "20"},
        {"seed": "1", "method.length": "8", "trainer.epochs": "20"},
    ]


@pytest.mark.parametrize("word", ["+a=1", "~a", "a", "=1", "-m"])
def test_only_plain_overrides_narrow_a_grid(word: str) -> None:
    with pytest.raises(ConfigError, match="key=value"):
        grids.of_command_line([word])


@pytest.mark.parametrize(
    ("model", "words", "kept"),
    [
        ("t5-small-lm-adapt", ["small"], True),
        ("t5-xl-lm-adapt", ["l"], False),
        ("t5-xxl-lm-adapt", ["xl"], False),
        ("minilm", ["minilm", "xl"], True),
        ("minilm", [], True),
    ],
)
def test_words_of_models(model: str, words: list[str], kept: bool) -> None:
    assert grids.kept(model, words) is kept
