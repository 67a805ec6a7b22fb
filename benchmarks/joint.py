"""Joint training against the same trials one after another: tokens a second, interleaved in one run, and peak memory.

`python -m benchmarks.run_joint` runs it. Both sides are our own engine with the same packing and precision, so the
ratio is what joint training is worth; peft can be timed in the same run. On a CPU memory is a process's own peak, each
in a fresh one; on a GPU the frozen weights and what the allocator gives out at most beside them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from benchmarks.flops import tokens, useful
from benchmarks.ours import loaded, made
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
    summary,
)
from benchmarks.workloads import SUITES, Workload
from repro.models.interface import ModelAdapter
from repro.training.checkpoint import Progress
from repro.training.cuda_graphs import RecordingRunner
from repro.training.memory import peak_resident
from repro.training.step import TrialBatch

SIZES = (2, 4, 8, 16)
ALONE = 4
"""Trials that are timed one after another; a rate does not depend on how many they are."""


@dataclass(frozen=True)
class Settings:
    """What all workloads of a run have in common."""

    device: torch.device
    rounds: int
    packing: bool = True
    sizes: tuple[int, ...] = SIZES
    peft: bool = False
    """Time peft in the same run."""


class Trials:
    """Trials of a workload that step together over one backbone.

    Each set has its own trials and its own trial batch: a stack takes its trials' tensors for itself, and recordings
    and the prepared step would be lost if others stepped in between.

    Args:
        seeds: of the trials, which have other data, starting values and learning rates.
    """

    def __init__(self, workload: Workload, seeds: Iterable[int], adapter: ModelAdapter):
        pairs = [made(replace(workload, seed=seed), adapter, 1e-3 * (1 + seed)) for seed in seeds]
        self.runs = [run for run, _ in pairs]
        self.examples = [batches for _, batches in pairs]
        self.progresses = [Progress() for _ in self.runs]
        self.trial_batch = TrialBatch(RecordingRunner())

    def one_pass(self) -> None:
        """A step on every batch of all of them."""
        for _ in self.examples[0]:
            failures = self.trial_batch.step(self.runs, self.progresses)
            assert not any(failures), failures


def in_turn(sets: Sequence[Trials]) -> None:
    """A pass of each, one after another."""
    for trials in sets:
        trials.one_pass()


class Sides:
    """The ways of running a workload's trials that are timed in turn: "alone", sizes of joint training, "peft"."""

    def __init__(self, workload: Workload, dtype: str, settings: Settings):
        self.workload, device = workload, settings.device
        before = allocated(device)
        adapter = loaded(workload, dtype, settings.packing, device)
        weights = allocated(device) - before
        alone = [Trials(workload, [seed], adapter) for seed in range(ALONE)]
        jointly = {size: Trials(workload, range(size), adapter) for size in settings.sizes}
        self.work: dict[str, Callable[[], None]] = {"alone": partial(in_turn, alone)}
        self.work |= {str(size): trials.one_pass for size, trials in jointly.items()}
        self.counts = {"alone": ALONE} | {str(size): size for size in settings.sizes}
        """Trials of each side, from seed 0 on."""
        self.bytes: dict[int, int] = {}
        """On a GPU: the most that trials which step together need, the frozen weights included."""
        if device.type == "cuda":
            for size, trials in {1: alone[0], **jointly}.items():
                self.bytes[size] = weights + peak_on_gpu(trials.one_pass, device, allocated(device))
        if settings.peft:  # a plain loop over the batches of the trials alone; autocast where our weights are bfloat16
            start = made(workload, adapter, 1e-3)[0].method
            self.theirs = Theirs(workload, device, start, autocast=dtype == "bfloat16")
            self.theirs.examples = [batch for trials in alone for batch in trials.examples[0]]
            self.work["peft"], self.counts["peft"] = self.theirs.one_pass, ALONE

    def total(self, count: Callable[[Workload], float]) -> dict[str, float]:
        """What `count` finds in a pass of each side."""
        each = [count(replace(self.workload, seed=seed)) for seed in range(max(self.counts.values()))]
        return {name: sum(each[:trials]) for name, trials in self.counts.items()}


def rates(workload: Workload, dtype: str, settings: Settings) -> Facts:
    """Real tokens a second one by one and jointly: medians, quartiles, and ratios of medians.

    Tokens and not steps, as the trials' batches are not equally long.
    """
    device, rounds = settings.device, settings.rounds
    if device.type == "cpu":
        workload = replace(workload, batches=1)
    sides = Sides(workload, dtype, settings)
    bare = {"product": product(PRODUCTS[dtype], device)}
    seconds = interleaved(sides.work | bare, rounds, device)
    rate = product_flops(device) / summary(seconds["product"])["median"]
    real, needed = sides.total(tokens), sides.total(useful)
    speeds = {name: summary([real[name] / taken for taken in seconds[name]]) for name in sides.work}
    median = {name: values["median"] for name, values in speeds.items()}
    row: Facts = {
        "workload": workload.name,
        "what": workload.what,
        "dtype": dtype,
        "packing": settings.packing,
        "rounds": rounds,
        "tokens_per_second": speeds,
        "ratio": {name: speed / median["alone"] for name, speed in median.items() if name != "peft"},
        "matmul_gflops": rate / 1e9,
        "utilisation": {name: needed[name] / real[name] * speed / rate for name, speed in median.items()},
    }
    if settings.peft:
        row["over_peft"] = {name: speed / median["peft"] for name, speed in median.items() if name != "peft"}
    return row | ({"memory": _shares(sides.bytes)} if sides.bytes else {})


def _shares(peaks: Mapping[int, int]) -> Facts:
    """Peak bytes of one trial and of joint training, the ratios to one, and to what as many processes would take."""
    return {
        "bytes": {str(size): peak for size, peak in peaks.items()},
        "ratio": {str(size): peak / peaks[1] for size, peak in peaks.items()},
        "of_as_many_processes": {str(size): peak / (size * peaks[1]) for size, peak in peaks.items()},
    }


def memory(suite: str, workload: str, dtype: str, settings: Settings) -> Facts:
    """Peak memory on a CPU, each size in a fresh process, as `_shares`."""
    peaks = {}
    code = "import sys; from benchmarks.joint import peak; print(peak(*sys.argv[1:]))"
    for size in (1, *settings.sizes):
        options = [suite, workload, dtype, str(int(settings.packing)), str(size)]
        done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise RuntimeError(f"the process that measures {size} trials ended with {done.returncode}: {done.stderr}")
        peaks[size] = int(done.stdout.split()[-1])
    return _shares(peaks)


def peak(suite: str, workload: str, dtype: str, packing: str, size: str) -> int:
    """What the fresh process does: its bytes at most for a step of `size` trials."""
    [shape] = [replace(shape, batches=1) for shape in workloads(suite) if shape.name == workload]
    adapter = loaded(shape, dtype, packing == "1", torch.device("cpu"))
    Trials(shape, range(int(size)), adapter).one_pass()
    return peak_resident()


def workloads(suite: str) -> tuple[Workload, ...]:
    """The suite's, and on a CPU T5 with batches so small that they leave two threads idle."""
    shapes = SUITES[suite]
    if suite != "cpu":
        return shapes
    small = replace(shapes[0], name="t5-5", batch_size=5, what=shapes[0].what.replace("batch of 8", "batch of 5"))
    return (small, *shapes)


def bench(suite: str, dtypes: Sequence[str], settings: Settings, only: str | None = None) -> Facts:
    """Everything above for every workload of a suite, or for one of them, with the machine."""
    rows, started = [], machine(settings.device)
    for workload in workloads(suite):
        for dtype in dtypes if only in (None, workload.name) else ():
            row = rates(workload, dtype, settings)
            if "memory" not in row:
                row["memory"] = memory(suite, workload.name, dtype, settings)
            rows.append(row)
            print(line(row), flush=True)
    return {"suite": suite, "machine": started, "load_after": machine(settings.device)["load"], "rows": rows}


def line(row: Facts) -> str:
    """One workload as text: speed and memory of each size against one trial."""
    alone, memory_of = row["tokens_per_second"]["alone"]["median"], row["memory"]["ratio"]
    parts = [
        f"{size} jointly: {ratio:.2f}x, memory {memory_of[size]:.2f}x"
        for size, ratio in row["ratio"].items()
        if size != "alone"
    ]
    parts += [f"{name} over peft {value:.2f}x" for name, value in row.get("over_peft", {}).items()]
    parts += [f"utilisation of {name} {value:.0%}" for name, value in row["utilisation"].items()]
    return f"{row['workload']} {row['dtype']}: alone {alone:.0f} tokens/s; " + "; ".join(parts)
