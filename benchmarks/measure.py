"""One workload, every way of running it, in one process and interleaved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.flops import padded_share, tokens, useful
from benchmarks.ours import Ours
from benchmarks.theirs import Theirs
from benchmarks.timing import (
    PRODUCTS,
    allocated,
    interleaved,
    peak_on_gpu,
    product,
    product_flops,
    saved_bytes,
    summary,
)
from benchmarks.workloads import SUITES, Workload
from repro.training.memory import peak_resident

OURS = {
    "packed": ("float32", True),
    "packed bfloat16": ("bfloat16", True),
    "padded": ("float32", False),
    "padded bfloat16": ("bfloat16", False),
}
"""Variant: (dtype of the frozen weights, trainer.packing)"""
THEIRS: Mapping[str, Mapping[str, Any]] = {
    "peft": {},
    "peft bfloat16 autocast": {"autocast": True},
    "peft Trainer": {"trainer": True},
    "peft fixed length": {"fixed": True},
}
VARIANTS = (*OURS, *THEIRS)
BASE = "peft"
"""What every ratio is taken against."""


def made(workload: Workload, variant: str, device: torch.device, ours: Ours | None = None) -> Ours | Theirs:
    """A way of running the workload; `ours` gives the prompt that all begin with, without it peft draws its own."""
    if variant in OURS:
        dtype, packing = OURS[variant]
        return Ours(workload, dtype, packing, device)
    options = dict(THEIRS[variant])
    pad_to = workload.padded_to if options.pop("fixed", False) else None
    return Theirs(workload, device, None if ours is None else ours.method, pad_to=pad_to, **options)


def measured(workload: Workload, rounds: int, device: torch.device, variants: tuple[str, ...] = VARIANTS) -> Any:
    """Times, ratios, utilisation and saved activations of a workload, as results/bench keeps them."""
    first = Ours(workload, "float32", True, device)
    work: dict[str, Callable[[], float | None]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for variant in variants:
        before = allocated(device)
        run = made(workload, variant, device, first)
        work[variant] = _pass_of(run)
        facts[variant] = {"loss": run.losses(), "saved_mb": _saved(run) / 1e6}
        if device.type == "cuda":
            facts[variant]["peak_mb"] = peak_on_gpu(work[variant], device, before) / 1e6
    rates = {f"product {name}": product(dtype, device) for name, dtype in PRODUCTS.items()}
    times = interleaved(work | rates, rounds, device)
    rate = {name: product_flops(device) / summary(times[f"product {name}"])["median"] for name in PRODUCTS}
    needed, real = useful(workload), tokens(workload)
    return {
        "workload": workload.what,
        "batches": workload.batches,
        "batch_size": workload.batch_size,
        "real_share": padded_share(workload),
        "useful_gflop": needed / 1e9,
        "matmul_gflops": {name: value / 1e9 for name, value in rate.items()},
        "rounds": rounds,
        "variants": {
            variant: _row(times[variant], times.get(BASE, times[variant]), needed, real, rate[_dtype(variant)])
            | facts[variant]
            for variant in variants
        },
    }


def _pass_of(run: Ours | Theirs) -> Callable[[], float | None]:
    def one() -> float | None:
        run.one_pass()
        return run.seconds if isinstance(run, Theirs) and run.trainer else None

    return one


def _dtype(variant: str) -> str:
    return "bfloat16" if "bfloat16" in variant else "float32"


def _row(seconds: list[float], base: list[float], needed: float, real: int, rate: float) -> dict[str, Any]:
    """Ratios are of medians; their spread is the quartiles of the ratios round by round."""
    found, ratios = summary(seconds), summary([b / own for b, own in zip(base, seconds, strict=True)])
    median = found["median"]
    return {
        "seconds": found,
        "speed": {"median": summary(base)["median"] / median, "low": ratios["low"], "high": ratios["high"]},
        "tokens_per_second": real / median,
        "utilisation": needed / median / rate,
    }


def _saved(run: Ours | Theirs) -> float:
    """Mean bytes a step that autograd keeps."""
    whole: Any = run.model if isinstance(run, Theirs) else run.adapter.backbone.whole
    parameters = list(whole.parameters())
    sizes = [saved_bytes(partial(run.forward_backward, index), parameters) for index in range(len(run.examples))]
    trained = parameters + ([] if isinstance(run, Theirs) else list(run.method.parameters.values()))
    for parameter in trained:
        parameter.grad = None
    return sum(sizes) / len(sizes)


def peak_megabytes(suite: str, name: str, variant: str, script: Path) -> float:
    """Peak resident memory of one variant alone on a CPU, in a process of its own."""
    command = [sys.executable, str(script), "--suite", suite, "--only", name, "--peak-of", variant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def own_peak(suite: str, name: str, variant: str) -> float:
    """What `peak_megabytes` asks its process for: a pass of training, in MB above a process that has loaded torch."""
    workload = next(one for one in SUITES[suite] if one.name == name)
    before = peak_resident()
    made(workload, variant, torch.device("cpu")).one_pass()
    return (peak_resident() - before) / 1e6
