"""A sweep on real data with packaged weights, one trial at a time and as a gang: the same values, and both's seconds.

Seeds by learning rates, as `repro run -m` has them: `python -m benchmarks.run_joint --real conll04`, `--real e2e`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import machine
from repro.config.compose import compose
from repro.config.schema import resolved
from repro.sweeps.executors import joint


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
        "gang-conll04-minilm",
        (
            *("method=p_tuning_v2", "model=minilm", "task=conll04", "trainer.device=cpu"),
            *("trainer.epochs=2", "trainer.batch_size=8", "trainer.evaluation_batch_size=8"),
            *("task.limit.train=320", "task.limit.validation=64", "task.limit.test=64"),
        ),
    ),
    "e2e": Sweep(
        "gang-e2e-smollm2",
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


def plains(folder: Path, sweep: Sweep, more: Sequence[str], few: bool = False) -> list[dict[str, Any]]:
    """The resolved configs of the sweep's trials; records and runs below `folder`."""
    places = (f"paths.results_root={folder}/results", f"paths.runs_root={folder}/runs")
    found = [
        dict(resolved(compose([*sweep.words, *more, *places, f"seed={s}", f"trainer.optimiser.learning_rate={r}"])))
        for s in sweep.seeds
        for r in sweep.rates
    ]
    return found[:1] if few else found


def timed(trials: Sequence[dict[str, Any]], gang: str) -> tuple[float, list[Any]]:
    """Seconds for all of them, and their records. Data is tokenised before, weights are loaded within."""
    jobs = [
        joint.Job(one | {"trainer": one["trainer"] | {"joint_trials": gang}}, {}, ["repro", "run"]) for one in trials
    ]
    started = time.perf_counter()
    results = joint.run_many(jobs)
    seconds = time.perf_counter() - started
    for result in results:
        if not isinstance(result, joint.Outcome):
            raise result
    return seconds, [result.record for result in results if isinstance(result, joint.Outcome)]


def compare(folder: Path, sweep: Sweep, more: Sequence[str] = (), rounds: int = 3) -> dict[str, Any]:
    """Both ways in turn, each time in fresh folders; how far the values of the last round differ."""
    started = machine(torch.device("cpu"))
    timed(plains(folder / "warm", sweep, [*more, "trainer.epochs=null", "trainer.steps=1"], few=True), "1")
    seconds: dict[str, list[float]] = {"alone": [], "gang": []}
    records: dict[str, list[Any]] = {}
    for turn in range(rounds):
        for way, gang in (("alone", "1"), ("gang", "auto"))[:: 1 if turn % 2 == 0 else -1]:
            took, records[way] = timed(plains(folder / f"{way}-{turn}", sweep, more), gang)
            seconds[way].append(took)
    apart, together = records["alone"], records["gang"]
    losses = [
        abs(ours["train_loss"] / theirs["train_loss"] - 1)
        for one, other in zip(together, apart, strict=True)
        for ours, theirs in zip(one.curve, other.curve, strict=True)
    ]
    return {
        "sweep": [*sweep.words, *more],
        "trials": len(apart),
        "seconds": seconds,
        "ratio": statistics.median(seconds["alone"]) / statistics.median(seconds["gang"]),
        "gang_sizes": [one.provenance.get("gang", 1) for one in together],
        "largest_difference_of_a_training_loss": max(losses),
        "scores_alone": [one.metrics for one in apart],
        "scores_gang": [one.metrics for one in together],
        "equal_scores": [one.metrics for one in together] == [other.metrics for other in apart],
        "machine": started,
        "load_after": machine(torch.device("cpu"))["load"],
    }
