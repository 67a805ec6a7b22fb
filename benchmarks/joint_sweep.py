"""A sweep on real data with packaged weights, one trial at a time and jointly: the same values, and both's seconds.

Seeds by learning rates, as `repro run -m` has them: `python -m benchmarks.run_joint --real conll04`, `--real e2e`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.timing import Facts, machine
from repro.config.compose import compose, trial_config
from repro.errors import ReproError
from repro.store.record import Record
from repro.sweeps.executors.base import Result
from repro.sweeps.executors.joint import Joint
from repro.trials.spec import TrialSpec, trial_spec


@dataclass(frozen=True)
class Sweep:
    """Trials of one method, model and task."""

    name: str
    """Of its file in results/bench."""
    words: tuple[str, ...]
    """Overrides of all trials: short ones, as speed and equality are measured, not quality."""
    seeds: tuple[int, ...] = (1, 2)
    rates: tuple[float, ...] = (5e-3, 1e-2)


SWEEPS = {
    "conll04": Sweep(
        "sweep-conll04-minilm",
        (
            *("method=p_tuning_v2", "model=minilm", "task=conll04", "trainer.device=cpu"),
            *("trainer.epochs=2", "trainer.batch_size=8", "trainer.evaluation_batch_size=8"),
            *("task.limit.train=320", "task.limit.validation=64", "task.limit.test=64"),
        ),
    ),
    "e2e": Sweep(
        "sweep-e2e-smollm2",
        (
            *("method=prefix_tuning", "model=smollm2-135m-instruct", "task=e2e", "trainer.device=cpu"),
            *("method.length=5", "method.hidden=64", "trainer.batch_size=5", "trainer.epochs=1"),
            *("task.limit.train=40", "task.limit.validation=4", "task.limit.test=4"),
            *("task.decoding.beams=1", "task.decoding.max_new_tokens=40", "task.decoding.batch_size=4"),
            *("trainer.selection.metric=loss", "trainer.evaluation_batch_size=4"),
        ),
        rates=(1e-4, 1e-3),
    ),
}
WAYS = {"alone": "1", "joint": "auto"}
"""Way of running a sweep: `trainer.joint_trials`."""


def jobs(folder: Path, sweep: Sweep, way: str, more: Sequence[str]) -> list[TrialSpec]:
    """The sweep's trials; records and runs below `folder`."""
    paths = (f"paths.results_root={folder}/results", f"paths.runs_root={folder}/runs")
    words = [*sweep.words, *more, *paths, f"trainer.joint_trials={WAYS[way]}"]
    each = [[f"seed={seed}", f"trainer.optimiser.learning_rate={rate}"] for seed in sweep.seeds for rate in sweep.rates]
    return [trial_spec(trial_config(compose([*words, *own]))) for own in each]


def timed(trials: Sequence[TrialSpec]) -> tuple[float, list[Record]]:
    """Seconds for all of them, and their records. Data is tokenised before, weights are loaded within."""
    started = time.perf_counter()
    results: dict[str, Result] = {}
    Joint().run(trials, lambda spec, result: results.update({spec.key: result}))
    seconds = time.perf_counter() - started
    records = []
    for outcome in [results[trial.key] for trial in trials]:
        if isinstance(outcome, ReproError):
            raise outcome
        assert outcome.record is not None, "folders are fresh, so every trial is run"
        records.append(outcome.record)
    return seconds, records


def compare(folder: Path, sweep: Sweep, more: Sequence[str] = (), rounds: int = 3) -> Facts:
    """Both ways in turn, each time in fresh folders; how far the values of the last round differ."""
    started = machine(torch.device("cpu"))
    timed(jobs(folder / "warm", sweep, "alone", [*more, "trainer.epochs=null", "trainer.steps=1"])[:1])
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    records: dict[str, list[Record]] = {}
    for turn in range(rounds):
        for way in list(WAYS)[:: 1 if turn % 2 == 0 else -1]:
            taken, records[way] = timed(jobs(folder / f"{way}-{turn}", sweep, way, more))
            seconds[way].append(taken)
    alone, jointly = records["alone"], records["joint"]
    losses = [
        abs(ours["train_loss"] / theirs["train_loss"] - 1)
        for record, other in zip(jointly, alone, strict=True)
        for ours, theirs in zip(record.curve, other.curve, strict=True)
    ]
    return {
        "sweep": [*sweep.words, *more],
        "trials": len(alone),
        "seconds": seconds,
        "ratio": statistics.median(seconds["alone"]) / statistics.median(seconds["joint"]),
        "joint_sizes": [record.provenance.get("joint_trials", 1) for record in jointly],
        "largest_difference_of_a_training_loss": max(losses),
        "scores_alone": [record.metrics for record in alone],
        "scores_joint": [record.metrics for record in jointly],
        "equal_scores": [record.metrics for record in jointly] == [record.metrics for record in alone],
        "machine": started,
        "load_after": machine(torch.device("cpu"))["load"],
    }
