"""`repro plan`: counts, estimates by hand, what is missing; and that nothing is computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from repro.config.schema import TrialConfig
from repro.errors import ConfigError
from repro.store.record import Record
from repro.sweeps import estimates, experiments, plan
from repro.sweeps.composing import composed as composed_quickly
from tests.sweeps.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]


def of(**trial: str) -> TrialConfig:
    return composed_quickly(trial)


def test_the_estimate_of_a_frozen_model_by_hand() -> None:
    config = of(method="prompt_tuning", model="t5-base-lm-adapt", task="boolq")
    cost = estimates.cost(config)
    length = 512 + 100 + 8
    training = 30_000 * 32 * length * 4 * 247_577_856
    scoring = 30 * 3270 * 2 * 247_577_856 * (length + 8)
    assert cost.steps == 30_000 and cost.flops == pytest.approx(training + scoring)
    own, labels = 100 * 768, 32 * 8 * 32128 * 8
    memory = 2 * 247_577_856 + 16 * own + 36 * 32 * length * 768 * 24 * 2 + labels
    assert cost.memory == pytest.approx(memory)


@pytest.mark.parametrize(
    ("trial", "numbers"),
    [
        ({"method": "fine_tuning", "model": "roberta-large", "task": "rte"}, 355_359_744),
        ({"method": "p_tuning_v2", "model": "roberta-large", "task": "rte"}, 128 * 49_152),
        ({"method": "prefix_tuning", "model": "gpt2-medium", "task": "e2e"}, 5 * 1024 + 1024 * 512 + 512 * 49_152),
        ({"method": "prompt_tuning", "model": "t5-xxl-lm-adapt", "task": "rte"}, 409_600),
    ],
)
def test_trained_numbers(trial: dict[str, str], numbers: int) -> None:
    config = composed_quickly(trial)
    assert config.method.trained_numbers(config.model) == numbers


def test_steps_of_epochs_and_of_unknown_rows() -> None:
    config = of(method="p_tuning_v2", model="roberta-large", task="rte")
    assert estimates.steps(config) == 100 * 78  # ceil(2490 / 32)
    unknown = of(method="p_tuning_v2", model="roberta-large", task="conll12_srl")
    assert estimates.steps(unknown) is None and estimates.cost(unknown).flops is None


def test_time_comes_from_records_of_the_same_cell() -> None:
    config = of(method="p_tuning_v2", model="minilm", task="cb")

    def record(key: str, seconds: float, **changed: Any) -> Record:
        return Record(
            key, "done", config.to_dict() | changed, 1, cost={"train_seconds": seconds, "evaluation_seconds": 1.0}
        )

    longer = {"trainer": config.to_dict()["trainer"] | {"epochs": 99}}
    assert estimates.measured(config, [record("a", 9.0), record("b", 19.0), record("c", 500.0, **longer)]) == (15.0, 2)
    assert estimates.measured(config, []) is None


def test_what_was_run_is_done(cli: Cli) -> None:
    done = cli("plan", "experiment=offline/cb", "--results", str(ROOT / "results"))
    assert done.code == 0 and "trials: 9 in all, 9 done, 0 failed, 0 to do" in done.out
    assert "nothing to do" in done.out and "comparison: 0 of 9" in done.out


def test_a_damaged_record_is_left_out_of_a_plan(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "results" / "records" / "a").mkdir(parents=True)
    (tmp_path / "results" / "records" / "a" / "record.json").write_text("{")
    done = cli("plan", "experiment=offline/cb")
    assert done.code == 1 and "1 damaged file is left out" in done.err and "9 to do" in done.out


def test_a_plan_says_what_is_needed(cli: Cli, tmp_path: Path) -> None:
    done = cli("plan", "lester2021", "--exhibits", "figure3b,figure1", "--models", "small", "task=rte,cb")
    assert done.code == 0, done.err
    # prompt tuning: 2 tasks x 3 seeds x 3 initialisations (one of them is Figure 1's too); model tuning: 2 x 3 (the
    # command line's tasks replace the mixture's, which makes them the same trials).
    assert "trials: 24 in all, 0 done, 0 failed, 24 to do" in done.out
    assert "needs google/t5-small-lm-adapt (up to 0.3 GB)" in done.out
    assert re.search(r"GPU memory: up to [\d.]+ GB", done.out) and re.search(r"GPU-hours: [\d.]+; 0 trials", done.out)
    assert "missing: task rte: data/superglue/RTE is not there" in done.out
    assert list(tmp_path.iterdir()) == [], "a plan writes nothing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a paper or an experiment"),
        (("nope",), "neither a paper"),
        (("lester2021", "--exhibits", "figure9"), "no exhibit figure9"),
        (("offline/cb", "--models", "xxl"), "no trial is left"),
        (("offline/cb", "+a=1"), "key=value"),
        (("offline/cb", "method.lenght=3"), "has no such key"),
    ],
)
def test_what_cannot_be_planned(arguments: tuple[str, ...], said: str, cli: Cli) -> None:
    done = cli("plan", *arguments)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    "text",
    ["5", "a: [", "defaults: 5", "hydra: 5", "hydra: {sweeper: {grids: [5]}}", "hydra: {sweeper: {params: x}}"],
)
def test_a_file_that_is_no_experiment_is_named(text: str, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "own" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    done = cli("plan", "experiment=mine", "--config-dir", str(tmp_path / "own"))
    assert done.code == 2 and str(path) in done.err, done.err


def test_an_empty_choice_of_models_is_no_error_of_other_experiments() -> None:
    chosen = experiments.chosen(["offline"])
    made = plan.make(chosen, {}, ["smollm2"], ROOT / "results", 100.0)
    assert {trial.spec.config.model.name for trial in made.trials} == {"smollm2-135m-instruct"}
    with pytest.raises(ConfigError):
        plan.make(chosen, {}, ["nothing"], ROOT / "results", 100.0)


def test_trials_that_wait_for_one_prompt_are_counted_each(tmp_path: Path) -> None:
    first = {"method": "p_tuning_v2", "model": "{model}", "task": "mpt_ner_open", "method.length": 4, "seed": 1}
    second = {"method": "p_tuning_v2", "model": "tiny-bert", "task": "conll04", "method.length": 4, "seed": "1,2"}
    grid = second | {"trainer.epochs": "1,2,3", "after": first, "paths.runs_root": str(tmp_path)}
    made = plan.make([experiments.Experiment("offline/cb", "", (grid,))], {}, [], tmp_path, 1e14)
    assert len(made.trials) == 1 + 2 * 3
