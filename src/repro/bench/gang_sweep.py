"""A sweep on real data, one trial at a time and as a gang: the same values, and the seconds of both.

Seeds by learning rates of P-Tuning v2 on CoNLL04 with the packaged MiniLM: `python scripts/bench_gang.py --real`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from repro import gangs
from repro.bench.timing import machine
from repro.composing import compose
from repro.config import resolved

SWEEP = ("method=p_tuning_v2", "model=minilm", "task=conll04", "trainer.device=cpu")


def plains(folder: Path, more: Sequence[str], seeds: Sequence[int], rates: Sequence[float]) -> list[dict[str, Any]]:
    """The resolved configs of the sweep's trials; records and runs below `folder`."""
    places = (f"paths.results_root={folder}/results", f"paths.runs_root={folder}/runs")
    return [
        dict(resolved(compose([*SWEEP, *more, *places, f"seed={seed}", f"trainer.optimiser.learning_rate={rate}"])))
        for seed in seeds
        for rate in rates
    ]


def timed(trials: Sequence[dict[str, Any]], gang: str) -> tuple[float, list[Any]]:
    """Seconds for all of them, and their records. Data is tokenised before, weights are loaded within."""
    jobs = [gangs.Job(one | {"trainer": one["trainer"] | {"gang": gang}}, {}, ["repro", "run"]) for one in trials]
    started = time.perf_counter()
    results = gangs.run_many(jobs)
    seconds = time.perf_counter() - started
    for result in results:
        if not isinstance(result, gangs.Outcome):
            raise result
    return seconds, [result.record for result in results if isinstance(result, gangs.Outcome)]


def compare(
    folder: Path, more: Sequence[str], seeds: Sequence[int] = (1, 2), rates: Sequence[float] = (5e-3, 1e-2)
) -> dict[str, Any]:
    """Both ways, one after the other, in fresh folders; how far the values differ."""
    warm = plains(folder / "warm", [*more, "trainer.epochs=null", "trainer.steps=1"], seeds[:1], rates[:1])
    timed(warm, "1")
    apart_seconds, apart = timed(plains(folder / "alone", more, seeds, rates), "1")
    gang_seconds, together = timed(plains(folder / "gang", more, seeds, rates), "auto")
    losses = [
        abs(ours["train_loss"] / theirs["train_loss"] - 1)
        for one, other in zip(together, apart, strict=True)
        for ours, theirs in zip(one.curve, other.curve, strict=True)
    ]
    return {
        "sweep": [*SWEEP, *more],
        "trials": len(apart),
        "seconds_alone": apart_seconds,
        "seconds_gang": gang_seconds,
        "ratio": apart_seconds / gang_seconds,
        "gang_sizes": [one.provenance.get("gang", 1) for one in together],
        "largest_difference_of_a_training_loss": max(losses),
        "scores_alone": [one.metrics for one in apart],
        "scores_gang": [one.metrics for one in together],
        "equal_scores": [one.metrics for one in together] == [other.metrics for other in apart],
        "machine": machine(torch.device("cpu")),
    }
