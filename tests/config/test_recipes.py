"""Recipes are found by the cells they cover, compose in their place, and keep the values they were given."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from repro.config.compose import compose, conf_dir, note_given, options, trial_config
from repro.config.plugins import CONFIG_DIR
from repro.config.recipes import COVERS, Cell, Recipe, recipes, recipes_for
from repro.config.run_key import run_key
from repro.errors import ConfigError
from repro.papers import registry
from repro.sweeps.composing import composed as composed_quickly
from tests.nested import resolved, validate, value_at

ROOT = conf_dir() / "recipe"
VALUES: dict[str, list[str]] = json.loads(Path(__file__).with_name("recipe_values.json").read_text(encoding="utf-8"))
"""Hash of everything a recipe sets: its cells, paper/method/model/task. Change it together with a recipe's values."""
ALL = recipes([conf_dir()])
COMMAND = re.compile(r"\. repro run((?: [\w./]+=\S+)+)$")


@cache
def merged(name: str) -> DictConfig:
    """What a recipe sets, with the files that it starts from."""
    own = OmegaConf.load(ROOT / f"{name}.yaml")
    assert isinstance(own, DictConfig)
    own.pop(COVERS, None)
    order = own.pop("defaults", ["_self_"])
    parts = [own if entry == "_self_" else merged(based_on(entry)) for entry in order]
    whole = OmegaConf.merge(*parts)
    assert isinstance(whole, DictConfig)
    return whole


def based_on(entry: str) -> str:
    match = re.fullmatch(r"/recipe/(.+)@_global_", entry)
    assert match, f"{entry}: a recipe starts from recipes only"
    return match.group(1)


def digest(config: DictConfig) -> str:
    content = json.dumps(OmegaConf.to_container(config), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def cells_of(recipe: Recipe) -> Iterator[Cell]:
    """Every cell of our own config files that a recipe covers."""
    for cell in map(Cell._make, itertools.product(options("method"), options("model"), options("task"))):
        if recipe.has(cell):
            yield cell


def test_every_cell_has_the_values_it_was_given():
    covered = {
        "/".join((recipe.paper, *cell)): digest(merged(f"{recipe.paper}/{recipe.name}"))
        for recipe in ALL
        for cell in cells_of(recipe)
    }
    assert covered == {cell: value for value, cells in VALUES.items() for cell in cells}


def test_no_cell_has_two_recipes_of_one_paper():
    for recipe in ALL:
        for cell in cells_of(recipe):
            assert [other.name for other in recipes_for(cell, ALL) if other.paper == recipe.paper] == [recipe.name]


def test_every_recipe_covers_something_with_every_name_it_lists():
    for recipe in ALL:
        assert recipe.covers, f"{recipe.path} covers nothing"
        for entry in recipe.covers:
            for group, patterns in zip(Cell._fields, entry, strict=True):
                for pattern in patterns:
                    one = Recipe(
                        "", "", recipe.path, (tuple((pattern,) if g == group else ("*",) for g in Cell._fields),)
                    )
                    assert any(
                        one.has(Cell(*(name if g == group else "x" for g in Cell._fields))) for name in options(group)
                    ), f"{recipe.path}: there is no {group} {pattern}"


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: f"{recipe.paper}-{recipe.name}")
def test_the_first_line_runs_the_recipe_and_every_value_names_its_source(recipe):
    """Composed as `repro plan` does it: the trials of tests/sweeps/test_coverage.py are not composed twice."""
    first = recipe.path.read_text(encoding="utf-8").splitlines()[1]
    command = COMMAND.search(first)
    assert command, f"{recipe.path}: no command in its first line"
    plain = composed_quickly(dict(word.split("=", 1) for word in command.group(1).split())).to_dict()
    validate(plain)
    cell = Cell(*(plain[part]["name"] for part in Cell._fields))
    assert recipe in recipes_for(cell, ALL), "it runs another recipe"
    used = plain["recipe"]
    assert used["name"]
    assert used["paper"] == (recipe.paper if recipe.paper in registry.PAPERS else None)
    assert used["sources"] and all(text.strip() for text in used["sources"].values())
    for key in used["sources"]:
        parent, _, last = key.rpartition(".")
        assert last in (value_at(plain, parent) if parent else plain), f"recipe.sources names {key}"
    changed = {word.partition("=")[0] for word in command.group(1).split()}
    for key, value in leaves(OmegaConf.to_container(merged(f"{recipe.paper}/{recipe.name}"))):
        if not key.startswith("recipe.") and key not in changed:
            assert value_at(plain, key) == value, key


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, item in node.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


@pytest.mark.parametrize("paper", sorted({recipe.paper for recipe in ALL}))
def test_the_choices_of_a_trial_name_the_recipes_file(paper, composed):
    recipe = next(recipe for recipe in ALL if recipe.paper == paper)
    words = [f"{group}={name}" for group, name in zip(Cell._fields, next(cells_of(recipe)), strict=True)]
    assert composed(*words, hydra=True).hydra.runtime.choices[f"recipe/{paper}@_global_"] == recipe.name


WORDS = ["method=p_tuning_v2", "model=roberta-large", "task=rte"]


def test_a_recipe_comes_after_the_groups_and_before_the_command_line():
    with_recipe = resolved(compose(WORDS))
    without = resolved(compose(["method=p_tuning_v2", "model=tiny-roberta", "task=rte"]))
    assert with_recipe["method"]["length"] == 128 and with_recipe["recipe"]["paper"] == "liu2022"
    assert without["method"]["length"] == 20 and without["recipe"]["name"] is None
    assert resolved(compose([*WORDS, "method.length=7"]))["method"]["length"] == 7
    assert resolved(compose([*WORDS, "~recipe@_global_"]))["recipe"]["name"] is None, "a recipe can be left out"


def test_the_source_of_a_replaced_value_says_so():
    words = [*WORDS, "method.length=7"]
    before = resolved(compose(words))
    for overrides, changed in ((words, True), ([*words, "recipe.sources={method.length: 'Figure 4'}"], False)):
        config = trial_config(compose(words))
        note_given(config, overrides)
        plain = config.to_dict()
        marked = f"given as 7; source of the recipe's value: {before['recipe']['sources']['method.length']}"
        assert plain["recipe"]["sources"] == before["recipe"]["sources"] | (
            {"method.length": marked} if changed else {}
        )
        assert run_key(plain) == run_key(before)


# Recipes and exhibits of the user's own ------------------------------------------------------------------------------

OWN = """\
# @package _global_
covers: {method: p_tuning_v2, model: tiny-*, task: [rte, cb]}
method: {length: 3}
recipe: {name: mine/tiny, paper: mine}
"""
EXHIBIT = """\
# @package _global_
title: My exhibit
defaults:
  - override /hydra/sweeper: grids
experiment_name: mine/lengths
hydra: {sweeper: {grids: [{method: p_tuning_v2, model: tiny-bert, task: rte, method.length: "2,4"}]}}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """own(name, text): a file in the user's config folder."""
    monkeypatch.setenv(CONFIG_DIR, str(tmp_path))

    def write(name: str, text: str) -> None:
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_a_users_recipe_and_exhibit_are_found_in_the_config_folder(own):
    from repro.sweeps import experiments

    own("recipe/mine/tiny", OWN)
    own("experiment/mine/lengths", EXHIBIT)
    plain = resolved(compose(["method=p_tuning_v2", "model=tiny-bert", "task=rte"]))
    assert plain["method"]["length"] == 3 and plain["recipe"]["paper"] == "mine"
    exhibit = experiments.load("mine/lengths")
    assert exhibit.title == "My exhibit" and "mine/lengths" in experiments.names("mine")
    assert [trial.spec.config.to_dict()["method"]["length"] for trial in exhibit.planned()] == [2, 4]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([OWN, OWN], ("a.yaml", "b.yaml", "task=rte")),
        ([OWN.replace("model", "modle")], ("a.yaml", "method, model and task")),
        (["covers: tiny-bert\n"], ("a.yaml", "method, model and task")),
        (["covers: [\n"], ("a.yaml", "not YAML")),
    ],
)
def test_a_wrong_recipe_is_named(own, texts, words):
    for name, text in zip("ab", texts, strict=False):
        own(f"recipe/mine/{name}", text)
    with pytest.raises(ConfigError) as error:
        composed_quickly({"method": "p_tuning_v2", "model": "tiny-bert", "task": "rte"})
    assert all(word in str(error.value) for word in words)
