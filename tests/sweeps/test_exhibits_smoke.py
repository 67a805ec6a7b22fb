"""Each kind of trial of the experiments makes one step, on a tiny model of the same family."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from repro.config.compose import note_start
from repro.config.schema import TrialConfig
from repro.sweeps import experiments, grids
from repro.sweeps.composing import composed
from repro.trials.run import run
from repro.trials.spec import trial_spec

CONF = Path(__file__).resolve().parents[2] / "conf"
TINY = {"encoder": "tiny-bert", "decoder": "tiny-gpt2", "encoder_decoder": "tiny-t5"}
"""For families without a tiny model of their own."""
VARIED = ("method.head", "method.reparameterisation", "method.tune_backbone", "method.initialisation", "task.sentinel")
"""Choices within a grid that take another path through the code."""


@cache
def content(group: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


Kind = frozenset[tuple[object, ...]]
"""Pairs of what a trial is: its method, family of models, reader of the data, each thing that is varied."""


@cache
def kinds(name: str) -> dict[Kind, tuple[dict[str, Any], dict[str, str]]]:
    """A grid and a trial of it for each kind of trial of an experiment."""
    found: dict[Kind, tuple[dict[str, Any], dict[str, str]]] = {}
    for grid in experiments.load(name).grids:
        for trial in grids.product(grid):
            model = content("model", trial.get("model", "minilm"))
            task = content("task", trial.get("task", "conll04"))
            parts = {"family": model["family"], "kind": task["kind"], "after": "after" in grid}
            parts |= {key: trial.get(key) for key in ("method", *VARIED)}
            found.setdefault(frozenset(combinations(parts.items(), 2)), (dict(grid), trial))
    return found


@cache
def new_kinds() -> dict[str, list[tuple[dict[str, Any], dict[str, str]]]]:
    """{experiment: trials with a pair that none before has}: that all compose and may run is tested elsewhere."""
    seen: set[tuple[object, ...]] = set()
    chosen: dict[str, list[tuple[dict[str, Any], dict[str, str]]]] = {}
    for name in experiments.names():
        for kind, pair in kinds(name).items():
            if not kind <= seen:
                seen |= kind
                chosen.setdefault(name, []).append(pair)
    return chosen


def shrunk(config: TrialConfig, data_root: Path, folder: Path) -> dict[str, Any]:
    """The same trial for one step, on a tiny model of the same family and on made-up data."""
    plain, small = config.to_dict(), config.to_dict()
    own = f"tiny-{plain['model']['family']}"
    tiny = own if (CONF / "model" / f"{own}.yaml").is_file() else TINY[plain["model"]["kind"]]
    small["model"] |= {"weights": None} | content("model", tiny)
    small["paths"] |= {
        "data_root": str(data_root),
        "results_root": f"{folder}/results",
        "runs_root": f"{folder}/runs",
        "cache_root": None,
    }
    for task in (small["task"], *small["task"]["parts"].values()):
        task |= {"source": "local", "check_rows": False, "also_metrics": []}
        task["data_dir"] = task["data_dir"].replace(plain["paths"]["data_root"], str(data_root), 1)
        task["max_input_length"] = min(48, task["max_input_length"])
        task["max_target_length"] = min(8, task.get("max_target_length", 8))
    decoding = small["task"]["decoding"]
    decoding |= {"max_new_tokens": 6, "min_new_tokens": min(2, decoding["min_new_tokens"])}
    if small["method"].get("head") == "verbaliser":  # tiny vocabularies have single letters only
        small["task"]["verbaliser"] = dict(zip(small["task"]["verbaliser"], "abcdefgh", strict=False))
    if small["method"].get("length"):
        small["method"]["length"] = min(8, small["method"]["length"])
    if small["method"].get("init_text"):  # two tokens for a tiny model, the space before it is one
        small["method"] |= {"init_text": "a", "length": 2, "init_steps": 2}
    if str(small["method"].get("layers", "all")) != "all":
        small["method"]["layers"] = small["method"]["layers"].partition(":")[0] + ":1"
    if small["task"]["low_data"]["size"]:
        small["task"]["low_data"] |= {"size": 4, "dev_fraction": None}
    if small["trainer"]["steps"] != 0:
        small["trainer"] |= {"epochs": None, "steps": 1, "evaluate_every": "1"}
    small["trainer"] |= {"batch_size": 4, "microbatches": 1, "device": "cpu", "threads": None, "dtype": "float32"}
    return small


@pytest.mark.smoke
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", new_kinds())
def test_one_step_of_every_kind_of_trial(name: str, data_root: Path, tmp_path: Path) -> None:
    for grid, trial in new_kinds()[name]:
        config = composed(trial | {"experiment": name})
        small = shrunk(config, data_root, tmp_path)
        before = grids.earlier(grid, trial)
        if before is not None:
            first = shrunk(composed(before), data_root, tmp_path)
            first["method"]["length"] = small["method"]["length"]
            done = run(trial_spec(TrialConfig.from_dict(first)))
            small["method"]["start_from"] = f"{done.folder}/prompt.safetensors"
        made = TrialConfig.from_dict(small)
        note_start(made.method)
        record = run(trial_spec(made)).record
        assert record is not None and record.status in ("done", "collapsed"), trial
        assert record.cost["steps"] == made.trainer.steps
        assert record.config["method"]["name"] == config.method.name and record.config["experiment_name"] == name
        splits = {split.partition("_")[0] for split in record.metrics}  # test_seen is a part of test
        assert {made.task.report_split} <= splits


def test_kinds_cover_every_grid_and_method() -> None:
    for name in experiments.names():
        methods = {trial.get("method") for grid in experiments.load(name).grids for trial in grids.product(grid)}
        assert {trial.get("method") for _, trial in kinds(name).values()} == methods, name
    assert {"after" in grid for grid, _ in kinds("liu2022/table3").values()} == {True, False}
