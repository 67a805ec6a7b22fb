"""`hydra/sweeper=optuna` through the command line: real trials, in the store, as a person would run them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.compose import trial_config
from repro.config.run_key import run_key
from tests.conftest import QUICK
from tests.sweeps.conftest import Cli

pytestmark = pytest.mark.smoke

LR = "trainer.optimiser.learning_rate"
WORDS = ("-m", "hydra/sweeper=optuna", "method=p_tuning_v2", "model=tiny-bert", "task=rte", *QUICK)
SPACE = ("method.length=choice(2,3)", f"{LR}=tag(log, interval(1e-4,1e-1))")


def searches() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(Path("results/searches").glob("*.json"))]


def test_a_search_leaves_ordinary_records(
    cli: Cli, composed: Callable[..., Any], data_root: Path, one_thread: None
) -> None:
    data = f"paths.data_root={data_root}"
    first = cli("run", *WORDS, *SPACE, data, "hydra.sweeper.n_trials=2")
    assert first.code == 0, first.err
    assert "2 settings tried of 2, 0 failed" in first.out and "chosen on validation" in first.out
    [search] = searches()
    assert str(data_root) not in json.dumps(search), "no folder of this machine"
    records = {path.parent.name: path.read_bytes() for path in Path("results/records").glob("*/record.json")}
    for one in search["settings"]:
        words = [word for word in WORDS[2:] if word != "-m"] + [f"{k}={v}" for k, v in one["values"].items()]
        assert one["keys"] == [run_key(trial_config(composed(*words)))]
        assert json.loads(records[one["keys"][0]])["status"] in ("done", "collapsed")
    assert len(records) == 2

    more = cli("run", *WORDS, *SPACE, data, "hydra.sweeper.n_trials=3")
    assert more.code == 0, more.err
    [continued] = searches()
    assert continued["settings"][:2] == search["settings"] and len(continued["settings"]) == 3
    assert all(Path(f"results/records/{key}/record.json").read_bytes() == text for key, text in records.items())
    assert "already in the store" not in more.out, "what is there is not even launched"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no search space"),
        ([SPACE[0], "trainer.selection.split=test"], "Set trainer.selection.split=validation"),
        ([SPACE[0], "hydra.sweeper.sampler.name=grid"], "must be one of tpe, random"),
        ([SPACE[0], "hydra.sweeper.n_trials=0"], "n_trials=0: must be at least 1"),
        ([SPACE[0], "hydra.sweeper.batch=many"], "batch=many: must be a whole number"),
        ([SPACE[0], "hydra.sweeper.sampler.seed=-1"], "seed=-1: must be at least 0"),
        ([SPACE[0], "hydra.sweeper.direction=up"], "must be one of maximize, minimize"),
        (["method.lenght=choice(2,3)"], "this key does not exist"),
        (["seed=1,2"], "hydra.sweeper.seeds"),
    ],
)
def test_what_cannot_be_searched_is_a_sentence(cli: Cli, data_root: Path, words: list[str], said: str) -> None:
    done = cli("run", *WORDS, f"paths.data_root={data_root}", *words)
    assert done.code == 2 and said in done.err, done.err
    assert not Path("results").exists()
