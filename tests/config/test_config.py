"""The schema of a trial and its run key: equal for what gives equal results, different for everything else."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from repro.config.compose import chosen, compose, options, trial_config
from repro.config.conversion import types_of
from repro.config.run_key import defaults_of, facts, run_key
from repro.config.schema import (
    DecodingConfig,
    LowData,
    MethodConfig,
    ModelConfig,
    OptimiserConfig,
    ScheduleConfig,
    SelectionConfig,
    SplitLimits,
    TaskConfig,
    TrainerConfig,
    TrialConfig,
    method_schema,
)
from repro.errors import ConfigError
from repro.methods.registry import method
from tests.nested import resolved

DEFAULTS = Path(__file__).parents[1] / "golden" / "defaults.json"
TRIALS = {
    "fine_tuning": ("method=fine_tuning", "model=tiny-bert", "task=rte"),
    "prompt_tuning": ("method=prompt_tuning", "model=tiny-t5", "task=cb"),
    "prefix_tuning": ("method=prefix_tuning", "model=tiny-gpt2", "task=e2e"),
    "p_tuning_v2": ("method=p_tuning_v2", "model=tiny-roberta", "task=conll04"),
    "p_tuning": ("method=p_tuning", "model=tiny-bert", "task=rte", "method.placement=before", "method.head=linear"),
    "cloze": ("method=p_tuning", "model=tiny-bert", "task=rte"),
    "prompt_design": ("method=prompt_design", "model=tiny-t5", "task=cb", "trainer.epochs=null", "trainer.steps=0"),
    "infix_tuning": ("method=infix_tuning", "model=tiny-gpt2", "task=e2e"),
    "embedding_only": ("method=embedding_only", "model=tiny-gpt2", "task=e2e"),
}
"""One trial a method, so that every field of every schema is seen."""

NO_RESULT = {
    *("experiment_name", "rerun"),
    *("trainer.checkpoint_seconds", "trainer.if_running", "trainer.evaluation_batch_size", "trainer.device"),
    *("trainer.threads", "trainer.joint_trials", "trainer.gradient_checkpointing", "trainer.packing", "trainer.graphs"),
    *("task.data_dir", "task.decoding.batch_size", "task.paper_name", "task.source"),
    *("task.hub_id", "task.hub_config", "task.hub_revision", "model.source", "model.location", "model.pickled"),
    "task.cloze_source",
    *("method.paper_section", "method.deviations", "model.paper_name", "model.licence", "model.note"),
    *("method.equation", "method.stored_formula", "method.trained_formula", "method.tuned_formula"),
    *("method.start_from", "method.start_task"),
}
"""What does not change a result: where files lie, who watches, how often we save, memory and speed, remarks."""
NO_RESULT_GROUPS = ("paths", "tracker", "recipe")


def counts(plain: dict[str, Any], path: tuple[Any, ...]) -> bool:
    """Whether a value is part of the key; the cloze is where its words are asked for."""
    if path[:2] == ("task", "also_metrics"):
        return False
    if path[:2] in (("task", "cloze"), ("task", "verbaliser")):
        return bool(plain["method"].get("head") == "verbaliser")
    if path[:2] in (("task", "sha256"), ("task", "_target_")):
        return False
    return ".".join(map(str, path)) not in NO_RESULT and path[0] not in NO_RESULT_GROUPS


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values of a plain config; lists of plain values and empty dicts count as one value."""
    if isinstance(node, dict) and node:
        for key, item in node.items():
            yield from leaves(item, (*path, key))
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        for index, item in enumerate(node):
            yield from leaves(item, (*path, index))
    else:
        yield path


def another(value: Any) -> Any:
    """A different value of the same kind."""
    if value is None:
        return "something"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return {**value, "x": 1} if isinstance(value, dict) else [*value, "x"]


def changed(plain: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """A copy with another value at a path."""
    copied = copy.deepcopy(plain)
    node: Any = copied
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = another(node[path[-1]])
    return copied


@pytest.mark.parametrize("method", TRIALS)
def test_every_value_but_the_named_ones_changes_the_key(method, composed):
    plain = resolved(composed(*TRIALS[method]))
    key = run_key(plain)
    assert re.fullmatch("[0-9a-f]{16}", key)
    wrong = []
    seen = set()
    for path in leaves(plain):
        name = ".".join(map(str, path))
        seen.add(name)
        kept = not counts(plain, path)
        if (run_key(changed(plain, path)) == key) != kept:
            wrong.append(f"{name} {'changes' if kept else 'does not change'} the key")
    assert not wrong
    assert seen >= NO_RESULT, "a key that is no longer in the schema"
    assert len(seen) > 80


@pytest.mark.parametrize("method", TRIALS)
def test_a_field_added_with_a_default_leaves_older_keys(method, composed):
    """A record of before the field has no value for it, as here those that have their defaults are left out."""
    plain = resolved(composed(*TRIALS[method]))
    older = without_defaults(TrialConfig, plain)
    assert older != plain and run_key(older) == run_key(plain)


def without_defaults(schema: type, plain: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in plain.items():
        kind = types_of(schema)[name]
        if kind is MethodConfig:
            kind = method_schema(value)
        if isinstance(value, dict) and isinstance(kind, type) and dataclasses.is_dataclass(kind):
            value = without_defaults(kind, value)
        if value != defaults_of(schema).get(name, ...):
            kept[name] = value
    return kept


def test_defaults_are_those_that_the_keys_rest_on():
    """A default that changes is another trial under the same key: bump KEY_VERSION with it. New fields are added."""
    schemas = [ModelConfig, OptimiserConfig, ScheduleConfig, SelectionConfig, TrainerConfig, TrialConfig, TaskConfig]
    schemas += [DecodingConfig, SplitLimits, LowData, *(method(name).schema for name in options("method"))]
    today = {
        schema.__name__: {
            name: value for name, value in sorted(defaults_of(schema).items()) if facts(schema)[name].changes_result
        }
        for schema in schemas
    }
    assert today == json.loads(DEFAULTS.read_text(encoding="utf-8"))


def test_two_different_changes_give_two_different_keys(composed):
    plain = resolved(composed(*TRIALS["prompt_tuning"]))
    relevant = [path for path in leaves(plain) if counts(plain, path)]
    keys = {run_key(changed(plain, path)) for path in relevant}
    assert len(keys) == len(relevant)


def test_weights_are_named_by_their_content_wherever_they_are(composed):
    """A known hash stands for the weights; without one the revision says which they are."""
    model = ("method=fine_tuning", "task=rte", "model=tiny-bert")
    moved = ("model.source=folder", "model.location=/there", "model.revision=v2")
    known, other = "model.weights=abc", "model.weights=def"
    keys = [run_key(trial_config(composed(*model, *more))) for more in ((known,), (known, *moved), (other,), (), moved)]
    assert keys[0] == keys[1] and len(set(keys)) == 4


def test_a_method_that_is_not_registered_keeps_all_its_fields_in_the_key(composed):
    """Of a record that was made with a plugin, or of a vote."""
    plain = resolved(composed(*TRIALS["fine_tuning"]))
    vote = {"name": "prompt_ensemble", "members": ["a", "b"], "paper_section": "3"}
    others = [vote | {"members": ["a"]}, vote | {"paper_section": "4"}]
    key, *changed_keys = (run_key(plain | {"method": method}) for method in (vote, *others))
    assert changed_keys[0] != key and changed_keys[1] == key


def test_a_config_survives_json_and_shares_nothing_with_its_source(composed):
    for trial in (*TRIALS.values(), ("method=fine_tuning", "model=tiny-t5", "task=lester_mixture")):
        config = trial_config(composed(*trial))
        again = TrialConfig.from_dict(json.loads(json.dumps(config.to_dict())))
        assert again == config and run_key(again) == run_key(config) == run_key(config.to_dict())
    changed_copy = config.with_value("task.parts.rte.labels", ["a"])
    assert changed_copy.task.parts["rte"].labels == ["a"] != config.task.parts["rte"].labels
    assert changed_copy.task.parts["cb"] == config.task.parts["cb"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("trainer.batch_size", 2.5, "trainer.batch_size=2.5: must be a whole number"),
        ("trainer.batch_size", True, "trainer.batch_size=True: must be a whole number"),
        ("task.labels", "yes", "task.labels=yes: must be a list"),
        ("task.rows", 3, "task.rows=3: must be a group of keys"),
        ("method.lenght", 3, "method.lenght=3: PTuningV2Config has no such key"),
        ("method.name", "nope", "method=nope: must be one of "),
    ],
)
def test_a_record_with_a_wrong_value_is_refused(key, value, said, composed):
    plain = resolved(composed(*TRIALS["p_tuning_v2"]))
    *parents, last = key.split(".")
    node = plain
    for parent in parents:
        node = node[parent]
    node[last] = value
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        TrialConfig.from_dict(plain)


def test_the_key_leaves_its_argument_alone_and_ignores_the_order_of_keys(composed):
    plain = resolved(composed(*TRIALS["p_tuning_v2"]))
    before = copy.deepcopy(plain)

    def reverse(node: Any) -> Any:
        return {k: reverse(node[k]) for k in reversed(node)} if isinstance(node, dict) else node

    assert list(reverse(plain)) != list(plain)
    assert run_key(reverse(plain)) == run_key(plain)
    assert plain == before
    before["task"]["labels"].reverse()
    assert run_key(before) != run_key(plain), "the order of a list counts"


def test_equal_content_by_another_way_gives_the_same_key(composed):
    base = composed("method=p_tuning_v2", "model=tiny-bert", "task=rte", "seed=3", "trainer.batch_size=3")
    other = composed("trainer.batch_size=${seed}", "task=rte", "seed=3", "model=tiny-bert", "method=p_tuning_v2")
    assert resolved(other)["trainer"]["batch_size"] == 3
    assert run_key(resolved(base)) == run_key(resolved(other))


def test_the_key_is_independent_of_places_watchers_and_speed(composed, monkeypatch):
    trial = TRIALS["p_tuning_v2"]
    plain = resolved(composed(*trial))
    monkeypatch.setenv("REPRO_DATA_ROOT", "/elsewhere")
    monkeypatch.setenv("REPRO_RUNS_ROOT", "/runs")
    moved = resolved(
        composed(
            *trial,
            *("paths.results_root=/results", "tracker=wandb", "tracker.project=p", "experiment_name=x", "rerun=true"),
            *("trainer.checkpoint_seconds=1", "trainer.threads=2", "trainer.device=cpu", "trainer.if_running=skip"),
            *("trainer.evaluation_batch_size=2", "trainer.gradient_checkpointing=true"),
        )
    )
    assert moved["task"]["data_dir"] == "/elsewhere/conll04"
    places = {"data_root": "/elsewhere", "results_root": "/results", "runs_root": "/runs"}
    assert moved["paths"] == places | {"cache_root": "/runs/cache", "cache_gigabytes": 4.0}
    assert run_key(moved) == run_key(plain)


def test_the_key_is_the_same_in_other_processes(composed, python):
    plain = resolved(composed(*TRIALS["prefix_tuning"]))
    code = "import json, sys; from repro.config.run_key import run_key; print(run_key(json.load(sys.stdin)))"
    for seed in ("1", "2"):
        done = python("-c", code, text=json.dumps(plain), PYTHONHASHSEED=seed)
        assert (done.code, done.out.strip()) == (0, run_key(plain)), done.err


def test_resolved_is_plain_and_without_interpolations_or_hydra(composed):
    config = composed(*TRIALS["p_tuning_v2"], "paths.data_root=/there")
    plain = resolved(config)
    assert plain["task"]["data_dir"] == "/there/conll04"
    assert "${" not in json.dumps(plain) and "hydra" not in plain
    assert json.loads(json.dumps(plain)) == plain
    with_hydra = composed(*TRIALS["p_tuning_v2"], "paths.data_root=/there", hydra=True)
    assert resolved(with_hydra) == plain


def test_a_value_that_is_still_missing_is_refused(composed):
    with pytest.raises(Exception, match=r"trainer\.optimiser\.learning_rate"):
        resolved(composed("trainer.optimiser.learning_rate=???"))


def test_the_run_folder_is_named_by_the_key(composed):
    config = composed(*TRIALS["fine_tuning"], "paths.runs_root=/runs", hydra=True)
    assert OmegaConf.select(config, "hydra.run.dir") == f"/runs/{run_key(resolved(config))}"
    assert OmegaConf.select(config, "hydra.sweep.subdir") == run_key(resolved(config))


REFUSED = [
    ("method.lenght=3", "method.lenght", "no 'lenght' in PTuningV2Config", "--cfg job"),
    ("trainer.optimiser.nme=x", "trainer.optimiser.nme", "no 'nme' in OptimiserConfig", "--cfg job"),
    ("nope=1", "nope", "no 'nope' in TrialConfig", "--cfg job"),
    ("+nope=1", "nope=1", "no such key, only method, model, task", "Correct its name"),
    ("+method.nope=1", "method.nope=1", "no such key, only name, paper_section", "Correct its name"),
    ("+trainer.schedule.nope=1", "trainer.schedule.nope=1", "no such key, only name, warmup_steps", "Correct its name"),
    ("~method.length", "method.length: ", "does not support deletion", "--help"),
    ("trainer.epochs=abc", "trainer.epochs: ", "'abc' of type 'str' could not be converted to Integer", "of that type"),
    ("method.length=2.5", "method.length: ", "'2.5' of type 'float'", "of that type"),
    ("method.length=[1]", "method.length: ", "'[1]' of type 'list'", "of that type"),
    ("task.rows.train=x", "task.rows.train: ", "'x' of type 'str'", "of that type"),
    (
        "trainer.gradient_checkpointing=maybe",
        "trainer.gradient_checkpointing: ",
        "'maybe' is not a valid bool",
        "--help",
    ),
    ("method.sites=3", "method.sites: ", "int is not a list", "of that type"),
    ("task.rows=3", "task.rows: ", "Cannot assign int to Dict[str, int]", "of that type"),
    ("method.length=null", "method.length: ", "null is not allowed", "Give a value"),
    ("model=nope", "model=nope: ", "allowed are bart-large, ", "Choose one"),
    ("task=nope", "task=nope: ", "allowed are boolq, cb, ", "Choose one"),
    ("method=nope", "method=nope: ", "p_tuning_v2, prefix_tuning, prompt_design", "Choose one"),
    ("model=tiny-bert/nope", "model=tiny-bert/nope: ", "allowed are bart-large, ", "Choose one"),
    ("experiment=nope", "experiment=nope: ", "there is no such file", "Choose one"),
    ("ablation=nope", "ablation=nope: ", "there is no such file", "Choose one"),
    ("hydra/launcher=nope", "hydra/launcher=nope: ", "allowed are basic", "Choose one"),
    ("model=3", "a config group takes the name of a file", "Got int", "such as model=tiny-bert"),
    ("seed", "'seed'", "key=value", "--help"),
    ("seed=1,2", "seed=1,2", "add --multirun", "--help"),
    ("trainer.steps=${nope}", "trainer.steps", "'nope' not found", "--help"),
]


@pytest.mark.parametrize(("argument", "key", "what", "fix"), REFUSED, ids=[row[0] for row in REFUSED])
def test_unknown_keys_and_wrong_types_are_refused_in_one_sentence(argument, key, what, fix, cli, tmp_path):
    done = cli("run", argument)
    assert done.code == 2
    assert done.err.startswith("repro: ") and done.err.count("\n") == 1
    for part in (key, what, fix):
        assert part in done.err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("method: {lenght: 3}", ("method.lenght (in experiment/mine.yaml)", "no 'lenght' in PTuningV2Config")),
        ("foo: 3", ("foo (in experiment/mine.yaml)", "no 'foo' in TrialConfig")),
        ("trainer: {steps: x}", ("trainer.steps (in experiment/mine.yaml)", "'x' of type 'str'")),
        ("trainer: {steps: [1", ("not YAML", "mine.yaml", "line 2")),
    ],
)
def test_a_bad_config_file_is_named(text, parts, cli, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    done = cli("run", "--config-dir", str(tmp_path), "experiment=mine")
    assert done.code == 2 and done.err.count("\n") == 1
    for part in parts:
        assert part in done.err


@pytest.mark.parametrize("method", TRIALS)
def test_the_short_cut_of_these_tests_composes_as_hydra_does(method, altered, composed):
    values = ("trainer.evaluate_every=3", "trainer.optimiser.learning_rate=1", "trainer.checkpoint_seconds=1e-9")
    trial = (*TRIALS[method], *values, "trainer.epochs=null", "trainer.steps=5", "paths.data_root=/x")
    expected = resolved(composed(*trial))
    assert json.dumps(altered(*trial), sort_keys=True) == json.dumps(expected, sort_keys=True)
    assert resolved(compose(list(trial))) == expected, "outside of Hydra's main"


def test_chosen_names_only_files_that_are_there():
    choices = {"model": "tiny-bert", "recipe@_global_": "prompt_tuning/t5-base-lm-adapt/rte", "experiment": None}
    recipe = {"recipe/lester2021@_global_": "prompt_tuning"}
    assert chosen(choices | recipe) == {"model": "tiny-bert"} | recipe
