"""Many trials at once: records are a plain sweep's, whoever fails, is stored, stopped or held elsewhere."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest import MonkeyPatch

from repro.config.joint import joint_key
from repro.errors import ConfigError, TrialFailed
from repro.store.checkpoints import newest
from repro.store.lock import Lock
from repro.store.store import Store
from repro.sweeps.executors.base import Result
from repro.sweeps.executors.joint import Joint
from repro.trials.run import Outcome, run
from repro.trials.spec import TrialSpec
from tests.sweeps.conftest import Arguments, Capsys, Cli, Records, Spec, Start

pytestmark = pytest.mark.usefixtures("one_thread")

RTE = ("model=tiny-bert", "task=rte", "method=p_tuning_v2")
EXACT = ("key", "status", "reason", "seed", "metrics", "missing", "statistics", "clusters", "subsets", "parameters",
         "deviations", "choices")  # fmt: skip


def the_same(ours: dict[str, Any], theirs: dict[str, Any], rel: float = 1e-5) -> None:
    """Equal but for what the order of sums changes, and for what the trial cost."""
    assert {name: ours[name] for name in EXACT} == {name: theirs[name] for name in EXACT}
    assert [row["step"] for row in ours["curve"]] == [row["step"] for row in theirs["curve"]]
    for row, wanted in zip(ours["curve"], theirs["curve"], strict=True):
        assert row["train_loss"] == pytest.approx(wanted["train_loss"], rel=rel)
        assert {k: v for k, v in row.items() if k != "train_loss"} == {
            k: v for k, v in wanted.items() if k != "train_loss"
        }
    assert ours["selection"] == theirs["selection"]
    exact = ("steps", "examples", "tokens")
    assert {name: ours["cost"].get(name) for name in exact} == {name: theirs["cost"].get(name) for name in exact}
    assert set(ours["cost"]) == set(theirs["cost"])
    assert set(ours["provenance"]) - {"joint_trials"} == set(theirs["provenance"])


def run_jointly(specs: Sequence[TrialSpec]) -> list[Result]:
    """What became of each trial."""
    results: dict[str, Result] = {}
    Joint().run(specs, lambda spec, result: results.update({spec.key: result}))
    return [results[spec.key] for spec in specs]


def elsewhere(spec: TrialSpec, folder: Path) -> TrialSpec:
    paths = replace(spec.config.paths, results_root=str(folder / "alone"), runs_root=str(folder / "alone-runs"))
    return replace(spec, config=replace(spec.config, paths=paths))


@pytest.fixture
def varied(spec: Spec) -> list[TrialSpec]:
    """Unlike trials over tiny-bert, and three that cannot join them."""
    own = [
        (*RTE, "seed=1"),
        (*RTE, "seed=2", "method.length=5", "trainer.batch_size=3", "trainer.steps=5"),
        ("model=tiny-bert", "task=cb", "method=p_tuning_v2", "seed=1", "trainer.optimiser.learning_rate=0.1"),
        (*RTE, "seed=3", "method.prefix_dropout=0.4", "trainer.optimiser.name=adafactor"),
        (*RTE, "seed=4", "trainer.optimiser.learning_rate=1e30"),  # fails
        ("model=tiny-bert", "task=rte", "method=fine_tuning", "trainer.optimiser.learning_rate=1e-3"),
        ("model=tiny-bert", "task=rte", "method=prompt_tuning", "method.initialisation=uniform", "seed=1"),
        ("model=tiny-gpt2", "task=e2e", "method=prefix_tuning"),
    ]
    return [spec(*overrides) for overrides in own]


def test_records_are_those_of_trials_run_alone(varied: list[TrialSpec], records: Records, tmp_path: Path) -> None:
    results = run_jointly(varied)
    ours = records(tmp_path / "results")
    assert len(ours) == len(varied)
    sizes = {}
    for index, (spec, result) in enumerate(zip(varied, results, strict=True)):
        if index == 4:
            assert isinstance(result, TrialFailed) and ours[spec.key]["status"] == "failed"
            with pytest.raises(TrialFailed):
                run(elsewhere(spec, tmp_path))
        else:
            assert isinstance(result, Outcome) and not result.from_store
            run(elsewhere(spec, tmp_path))
        the_same(ours[spec.key], records(tmp_path / "alone")[spec.key])
        sizes[index] = ours[spec.key]["provenance"].get("joint_trials")
    assert [sizes[index] for index in (5, 6, 7)] == [None] * 3, "alone: tuned weights, another place, another model"
    assert all(sizes[index] is not None and sizes[index] >= 3 for index in (0, 1, 2, 3, 4)), sizes
    assert not list(tmp_path.rglob("lock*")) and not list(tmp_path.rglob("checkpoint"))
    for path in (tmp_path / "alone-runs").rglob("predictions-*.jsonl"):
        same = tmp_path / "runs" / path.relative_to(tmp_path / "alone-runs")
        assert same.read_bytes() == path.read_bytes()

    again = run_jointly(varied)
    assert all(isinstance(result, Outcome) and result.from_store for i, result in enumerate(again) if i != 4)
    assert isinstance(again[4], TrialFailed) and "failed before" in str(again[4])
    assert records(tmp_path / "results") == ours


@pytest.mark.parametrize(("limit", "largest"), [("3", 3), ("auto", 5)])
def test_a_number_bounds_joint_training(spec: Spec, records: Records, tmp_path: Path, limit: str, largest: int) -> None:
    specs = [spec(*RTE, f"seed={seed}", f"trainer.joint_trials={limit}", "trainer.steps=4") for seed in range(5)]
    run_jointly(specs)
    sizes = [record["provenance"].get("joint_trials") for record in records(tmp_path / "results").values()]
    assert len(sizes) == 5 and max((size for size in sizes if size), default=None) == largest
    assert specs[0].key == spec(*RTE, "seed=0", "trainer.steps=4").key, "no part of the key"


@pytest.mark.parametrize("value", ["0", "many", "1.5"])
def test_a_size_that_is_none(spec: Spec, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer.joint_trials={value}.*Set trainer.joint_trials=auto"):
        run(spec(*RTE, f"trainer.joint_trials={value}"))


BASE = ("model=tiny-bert", "task=rte", "method=p_tuning_v2", "seed=1")


@pytest.mark.parametrize(
    ("change", "together"),
    [
        (("seed=2",), True),
        (("method.length=9", "method.reparameterisation=mlp", "method.prefix_dropout=0.3"), True),
        (("trainer.batch_size=7", "trainer.steps=9", "trainer.clip_norm=null", "trainer.schedule.name=constant"), True),
        (("trainer.optimiser.name=adafactor", "trainer.loss_reduction=example_sum", "trainer.microbatches=2"), True),
        (("task=cb", "task.max_input_length=30"), True),
        (("method=prefix_tuning",), True),
        (("task=copa",), False),  # another format
        (("task=squad",), False),
        (("model=tiny-roberta",), False),
        (("trainer.dtype=bfloat16",), False),
        (("trainer.attention=eager",), False),
        (("trainer.packing=false",), False),
        (("trainer.backbone_dropout=0.1",), False),
        (("trainer.attention_dropout=0.1",), False),
        (("trainer.gradient_checkpointing=true",), False),
        (("method.layers=last:1",), False),
        (("method=prompt_tuning",), False),
        (("method=adapter",), False),
        (("method=fine_tuning",), False),
        (("method=lora",), False),
        (("trainer.steps=0",), False),
        (("trainer.joint_trials=1",), False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_who_may_train_with_whom(spec: Spec, change: tuple[str, ...], together: bool) -> None:
    changed = {text.partition("=")[0] for text in change}
    other = spec(*(text for text in BASE if text.partition("=")[0] not in changed), *change)
    assert (joint_key(spec(*BASE).config) == joint_key(other.config)) == together


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=fine_tuning",), ("method=lora",), ("method=prompt_design", "model=tiny-gpt2", "task=e2e"),
        ("method=p_tuning", "method.tune_backbone=true", "method.placement=before"),
        ("model=tiny-deberta", "method=p_tuning_v2", "trainer.backbone_dropout=0.1"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_who_trains_alone(spec: Spec, overrides: tuple[str, ...]) -> None:
    given = {text.partition("=")[0] for text in overrides}
    assert joint_key(spec(*(t for t in BASE if t.partition("=")[0] not in given), *overrides).config) is None


def test_an_error_in_scoring_one_trial_is_its_own(
    spec: Spec, records: Records, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    from repro.trials.prepared import Trial

    inner = Trial.report

    def report(self: Trial, *others: Any) -> Any:
        if self.config.seed == 2:
            raise ZeroDivisionError("nothing to divide")
        return inner(self, *others)

    monkeypatch.setattr(Trial, "report", report)
    results = run_jointly([spec(*RTE, f"seed={seed}") for seed in (1, 2, 3)])
    assert isinstance(results[1], TrialFailed) and "ZeroDivisionError: nothing to divide" in str(results[1])
    status = {record["seed"]: record["status"] for record in records(tmp_path / "results").values()}
    assert status[2] == "failed" and {status[1], status[3]} <= {"done", "collapsed"}
    assert not list(tmp_path.rglob("lock*"))


def test_data_or_weights_that_cannot_be_had_stop_no_other(spec: Spec, records: Records, tmp_path: Path) -> None:
    good = [spec(*RTE, f"seed={seed}") for seed in (1, 2)]
    broken = spec(*RTE, "seed=3", f"task.data_dir={tmp_path}/gone")
    lost = [spec(*RTE, f"seed={s}", "model.source=folder", f"model.location={tmp_path}/no") for s in (4, 5)]
    results = run_jointly([good[0], broken, good[1], *lost])
    assert isinstance(results[0], Outcome) and isinstance(results[2], Outcome)
    assert "does not exist" in str(results[1])
    assert str(results[3]) == str(results[4]) and "no such file or folder" in str(results[3])
    assert len(records(tmp_path / "results")) == 2 and not list((tmp_path / "runs").rglob("lock*"))


def test_a_trial_that_another_process_runs_waits_or_steps_aside(spec: Spec) -> None:
    specs = [spec(*RTE, "seed=1"), spec(*RTE, "seed=2"), spec(*RTE, "seed=3", "trainer.if_running=skip")]
    held = [Lock(specs[0].folder / "lock"), Lock(specs[2].folder / "lock")]
    assert all(lock.acquire(wait=False) for lock in held)
    results: dict[str, Result] = {}

    def on_result(trial: TrialSpec, result: Result) -> None:
        results[trial.key] = result
        if trial is specs[1]:  # the one that is free has ended: the other process gives its trial back
            threading.Timer(0.2, held[0].release).start()

    Joint().run(specs, on_result)
    held[1].release()
    assert list(results)[-1] == specs[0].key and len(results) == 3
    outcomes = [results[trial.key] for trial in specs]
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    assert [outcome.record is None for outcome in outcomes] == [False, False, True]  # type: ignore[union-attr]


# Hydra and `repro sweep` ---------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_a_multirun_with_the_launcher_leaves_what_a_plain_one_leaves(
    cli: Cli, trial_arguments: Arguments, records: Records, tmp_path: Path
) -> None:
    swept = [*trial_arguments(), "seed=1,2", "trainer.optimiser.learning_rate=1e-3,1e30", "trainer.steps=4"]
    swept = list({text.partition("=")[0]: text for text in swept}.values())
    plain = cli("run", "-m", *swept, "paths.results_root=plain", "paths.runs_root=plain-runs")
    joint = cli("run", "-m", "hydra/launcher=joint", *swept, "paths.results_root=joint", "paths.runs_root=joint-runs")
    assert plain.code == joint.code == 2
    ours, theirs = records(Path("joint")), records(Path("plain"))
    assert len(ours) == len(theirs) == 4
    for key, record in theirs.items():
        the_same(ours[key], record)
        assert ours[key]["provenance"]["joint_trials"] >= 2
        assert ours[key]["provenance"]["command"] == record["provenance"]["command"]
    lines = [[line for line in done.err.splitlines() if line.startswith("repro: ")] for done in (plain, joint)]
    assert lines[0] == lines[1] and len(lines[0]) == 2
    told = [[line for line in done.out.splitlines() if line.startswith("p_tuning_v2 | ")] for done in (plain, joint)]
    assert [line.partition("[")[0] for line in told[0]] == [line.partition("[")[0] for line in told[1]]
    assert "already in the store" not in joint.out
    again = cli("run", "-m", "hydra/launcher=joint", *swept, "paths.results_root=joint", "paths.runs_root=joint-runs")
    assert again.code == 2 and again.out.count("already in the store") == 2 and records(Path("joint")) == ours


@pytest.mark.smoke
def test_a_job_that_cannot_be_composed_is_said_by_itself(
    cli: Cli, trial_arguments: Arguments, records: Records, tmp_path: Path
) -> None:
    swept = [text for text in trial_arguments() if not text.startswith("task=")]
    done = cli("run", "-m", "hydra/launcher=joint", *swept, "task=rte,cb", "seed=1,-1")
    assert done.code == 2 and "seed=-1" in done.err
    assert len(records(Path("results"))) == 2


@pytest.mark.smoke
def test_a_sweep_trains_jointly(data_root: Path, records: Records, tmp_path: Path, capsys: Capsys) -> None:
    from repro.sweeps.experiments import Experiment
    from repro.sweeps.sweep import Sweep

    quick = {"task.check_rows": "false", "task.max_input_length": "48", "trainer.epochs": "null", "trainer.steps": "3"}
    quick |= {"trainer.batch_size": "4", "trainer.evaluate_every": "2", "trainer.device": "cpu"}
    cell = {"method": "p_tuning_v2", "model": "tiny-bert", "task": "rte,cb", "seed": "1,2"}
    places = {"paths.data_root": str(data_root)}
    places |= {f"paths.{root}_root": str(tmp_path / root) for root in ("results", "runs")}
    chosen = Experiment("offline/cb", "", (cell, cell))
    assert Sweep([chosen], quick | places, [], Joint(), joint_trials="auto").run() == 0
    planned = {trial.key: trial.spec for trial in chosen.planned(quick | places)}
    ours = records(tmp_path / "results")
    assert ours.keys() == planned.keys() and len(ours) == 4
    for key, record in ours.items():
        assert record["provenance"]["joint_trials"] >= 2
        words = [word for word in record["provenance"]["command"] if not word.startswith("trainer.joint_trials=")]
        assert words == list(planned[key].command)
    assert capsys.readouterr().out.count("offline/cb 4/4: ") == 1


# Stopping ------------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_joint_training_that_was_stopped_continues_alone_or_jointly(
    how: signal.Signals, code: int, start: Start, cli: Cli, trial_arguments: Arguments, records: Records, tmp_path: Path
) -> None:
    swept = [*trial_arguments("trainer.steps=40", "trainer.evaluate_every=6"), "seed=1,2,3"]
    swept = list({text.partition("=")[0]: text for text in swept}.values())
    assert cli("run", "-m", *swept, "paths.results_root=whole", "paths.runs_root=whole-runs").code == 0
    together = ["run", "-m", "hydra/launcher=joint", *swept]
    if how == signal.SIGKILL:
        together.append("trainer.checkpoint_seconds=1e-9")
    process = start(*together)
    process.wait_for(lambda: process.printed("epoch 6 "))
    os.kill(process.pid, how)
    cut = process.end()
    assert cut.code == code, cut.err
    assert records(tmp_path / "results") == {}
    states = [newest(folder)[0] for folder in sorted((tmp_path / "runs").glob("*/checkpoint"))]
    assert len(states) == 3 and all(state and 6 <= state.progress["step"] < 40 for state in states), states
    one = [text.replace("seed=1,2,3", "seed=2") for text in swept]
    assert cli("run", *one).code == 0, "one of them, alone"
    rest = cli(*together)
    assert rest.code == 0, rest.err
    ours, theirs = records(tmp_path / "results"), records(tmp_path / "whole")
    assert len(ours) == 3
    for key, record in theirs.items():
        the_same(ours[key], record)
    assert not list((tmp_path / "runs").rglob("lock*"))
    assert Store(tmp_path / "results" / "records").get(next(iter(ours))) is not None


def test_the_bench_of_a_sweep_compares_records_of_both_ways(tmp_path: Path, trial_arguments: Arguments) -> None:
    from benchmarks.joint_sweep import Sweep, compare
    from repro.config.compose import register

    register()
    found = compare(tmp_path, Sweep("tiny", tuple(trial_arguments()), seeds=(1, 2), rates=(1e-3, 1e-2)), rounds=1)
    assert found["trials"] == 4 and max(found["joint_sizes"]) > 1
    assert found["equal_scores"] and found["scores_joint"][0] and found["largest_difference_of_a_training_loss"] < 1e-4
    folders = [
        sorted(path.name for path in (tmp_path / f"{way}-0/results/records").iterdir()) for way in found["seconds"]
    ]
    assert folders[0] == folders[1] and len(folders[0]) == 4
    assert found["ratio"] == found["seconds"]["alone"][0] / found["seconds"]["joint"][0]
