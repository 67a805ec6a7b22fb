"""A suite's workloads, every way of running them, in one process and interleaved; written as it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypedDict

import torch

from benchmarks.flops import padded_share, tokens, useful
from benchmarks.ours import Ours
from benchmarks.padding import shares
from benchmarks.page import figure
from benchmarks.theirs import Theirs
from benchmarks.timing import (
    PRODUCTS,
    ROOT,
    Facts,
    allocated,
    interleaved,
    machine,
    peak_on_gpu,
    product,
    product_flops,
    saved_bytes,
    summary,
    write,
)
from benchmarks.workloads import SUITES, Workload
from repro.training.memory import peak_resident


class _Options(TypedDict, total=False):
    autocast: bool
    trainer: bool
    fixed: bool


OURS = {
    "packed": ("float32", True),
    "packed bfloat16": ("bfloat16", True),
    "padded": ("float32", False),
    "padded bfloat16": ("bfloat16", False),
}
"""Variant: (dtype of the frozen weights, trainer.packing)"""
THEIRS: Mapping[str, _Options] = {
    "peft": {},
    "peft bfloat16 autocast": {"autocast": True},
    "peft Trainer": {"trainer": True},
    "peft fixed length": {"fixed": True},
}
VARIANTS = (*OURS, *THEIRS)
BASE = "peft"
"""What every ratio is taken against."""


def run(suite: str, device: torch.device, rounds: int, only: str | None, out: Path, peak: bool = True) -> Facts:
    """Measure and write `<out>/<suite>.json` and its figure; what another workload left in the file stays.

    Args:
        only: name of one workload; None: all.
        peak: measure peak memory on a CPU, a process a variant.
    """
    path = out / f"{suite}.json"
    facts: Facts = json.loads(path.read_text()) if only and path.exists() else {}
    facts["machine"] = machine(device)
    for workload in SUITES[suite]:
        if only not in (None, workload.name):
            continue
        row = measured(workload, rounds, device)
        for variant in VARIANTS if peak and device.type == "cpu" else ():
            row["variants"][variant]["peak_mb"] = peak_megabytes(suite, workload.name, variant)
        facts.setdefault("workloads", {})[workload.name] = row
        _print(workload.name, row)
    data_root = Path(os.environ.get("REPRO_DATA_ROOT") or "data")  # what is not there, the page says
    facts["padding"] = {} if suite == "tiny" else shares(data_root)
    facts["load_after"] = machine(device)["load"]
    write(facts, path)
    figure(facts, path.with_suffix(".svg"))
    return facts


def _print(name: str, row: Facts) -> None:
    print(f"{name}: {row['workload']}")
    for variant, values in row["variants"].items():
        speed = values["speed"]
        print(
            f"  {variant:24s} {values['seconds']['median']:7.3f} s  {speed['median']:5.2f}x [{speed['low']:.2f}, "
            f"{speed['high']:.2f}]  utilisation {values['utilisation']:.0%}  kept {values['saved_mb']:.0f} MB  "
            f"peak {values.get('peak_mb', float('nan')):.0f} MB",
            flush=True,
        )


def made(workload: Workload, variant: str, device: torch.device, ours: Ours | None = None) -> Ours | Theirs:
    """A way of running the workload; `ours` gives the prompt that all begin with, without it peft draws its own."""
    if variant in OURS:
        dtype, packing = OURS[variant]
        return Ours(workload, dtype, packing, device)
    options = THEIRS[variant]
    return Theirs(
        workload,
        device,
        None if ours is None else ours.method,
        autocast=options.get("autocast", False),
        pad_to=workload.padded_to if options.get("fixed") else None,
        trainer=options.get("trainer", False),
    )


def measured(workload: Workload, rounds: int, device: torch.device, variants: tuple[str, ...] = VARIANTS) -> Facts:
    """Times, ratios, utilisation and saved activations of a workload, as results/bench keeps them."""
    first = Ours(workload, "float32", True, device)
    work: dict[str, Callable[[], float | None]] = {}
    facts: dict[str, Facts] = {}
    for variant in variants:
        before = allocated(device)
        way = made(workload, variant, device, first)
        work[variant] = partial(_pass, way)
        facts[variant] = {"loss": way.losses(), "saved_mb": _saved(way) / 1e6}
        if device.type == "cuda":
            facts[variant]["peak_mb"] = peak_on_gpu(work[variant], device, before) / 1e6
    bare = {f"product {name}": product(dtype, device) for name, dtype in PRODUCTS.items()}
    times = interleaved(work | bare, rounds, device)
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


def _pass(way: Ours | Theirs) -> float | None:
    """A pass; its own clock's seconds where transformers' Trainer runs it."""
    way.one_pass()
    return way.seconds if isinstance(way, Theirs) and way.trainer else None


def _dtype(variant: str) -> str:
    return "bfloat16" if "bfloat16" in variant else "float32"


def _row(seconds: list[float], base: list[float], needed: float, real: int, rate: float) -> Facts:
    """Ratios are of medians; their spread is the quartiles of the ratios round by round."""
    ratios = summary([b / own for b, own in zip(base, seconds, strict=True)])
    median = summary(seconds)["median"]
    return {
        "seconds": summary(seconds),
        "speed": {"median": summary(base)["median"] / median, "low": ratios["low"], "high": ratios["high"]},
        "tokens_per_second": real / median,
        "utilisation": needed / median / rate,
    }


def _saved(way: Ours | Theirs) -> float:
    """Mean bytes a step that autograd keeps."""
    model = way.model if isinstance(way, Theirs) else way.adapter.backbone.whole
    parameters = list(model.parameters())
    sizes = [saved_bytes(partial(way.forward_backward, index), parameters) for index in range(len(way.examples))]
    for parameter in parameters + ([] if isinstance(way, Theirs) else list(way.method.parameters.values())):
        parameter.grad = None
    return sum(sizes) / len(sizes)


def peak_megabytes(suite: str, name: str, variant: str) -> float:
    """Peak resident memory of one variant alone on a CPU, in a process of its own."""
    options = ["--suite", suite, "--only", name, "--peak-of", variant]
    command = [sys.executable, "-m", "benchmarks.run_bench", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(json.loads(done.stdout.splitlines()[-1]))


def own_peak(suite: str, name: str, variant: str) -> float:
    """What `peak_megabytes` asks its process for: a pass of training, in MB above a process that has loaded torch."""
    [workload] = [workload for workload in SUITES[suite] if workload.name == name]
    before = peak_resident()
    made(workload, variant, torch.device("cpu")).one_pass()
    return (peak_resident() - before) / 1e6
