"""Joint training against the same trials one after another: tokens a second, interleaved in one run, and peak memory.

`python -m benchmarks.run_joint` runs it. Both sides are our own engine with the same packing and precision, so the
ratio is what joint training is worth; peft can be timed in the same run. On a CPU memory is a process's own peak, each
in a fresh one; on a GPU the frozen weights and what the allocator gives out at most beside them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.flops import tokens, useful
from benchmarks.ours import loaded, made
from benchmarks.timing import PRODUCTS, allocated, interleaved, machine, peak_on_gpu, product, product_flops, summary
from benchmarks.workloads import SUITES, Workload
from repro.models.backbone import ModelAdapter
from repro.training.checkpoint import Progress
from repro.training.memory import peak_resident
from repro.training.step import TrialBatch

SIZES = (2, 4, 8, 16)
ALONE = 4
"""Trials that one after another are timed with; a rate does not depend on how many they are."""


class Trials:
    """Trials of a workload that step together over one backbone: a gang, or one alone.

    They are their own, and so is their company: a stack takes its trials' tensors for itself, and recordings and the
    step made ready are lost where others step in between.

    Args:
        seeds: of the trials, which have other data, starting values and learning rates.
    """

    def __init__(self, workload: Workload, seeds: Iterable[int], adapter: ModelAdapter):
        every = [made(replace(workload, seed=seed), adapter, 1e-3 * (1 + seed)) for seed in seeds]
        self.runs = [run for run, _ in every]
        self.examples = [batches for _, batches in every]
        self.progresses = [Progress() for _ in self.runs]
        self.trial_batch = TrialBatch()

    def one_pass(self) -> None:
        """A step on every batch of all of them."""
        for _ in self.examples[0]:
            failures = self.trial_batch.step(self.runs, self.progresses)
            assert not any(failures), failures


def in_turn(every: Sequence[Trials]) -> None:
    """A pass of each, one after another."""
    for one in every:
        one.one_pass()


class Sides:
    """The ways of running a workload's trials that are timed in turn."""

    def __init__(
        self,
        workload: Workload,
        dtype: str,
        packing: bool | str,
        device: torch.device,
        sizes: Sequence[int],
        peft: bool,
    ):
        self.workload, self.device = workload, device
        before = allocated(device)
        adapter = loaded(workload, dtype, packing, device)
        weights = allocated(device) - before
        alone = [Trials(workload, [seed], adapter) for seed in range(ALONE)]
        gangs = {size: Trials(workload, range(size), adapter) for size in sizes}
        self.work: dict[str, Callable[[], None]] = {"alone": partial(in_turn, alone)}
        self.work |= {f"gang of {size}": gang.one_pass for size, gang in gangs.items()}
        self.counts = {"alone": ALONE} | {f"gang of {size}": size for size in sizes}
        """Trials of each side, from seed 0 on."""
        self.bytes: dict[int, int] = {}
        """On a GPU: the most that trials which step together need, the frozen weights included."""
        if device.type == "cuda":
            for size, one in {1: alone[0], **gangs}.items():
                self.bytes[size] = weights + peak_on_gpu(one.one_pass, device, allocated(device))
        if peft:
            theirs = self._theirs(dtype, alone, adapter)
            self.work["peft"], self.counts["peft"] = theirs.one_pass, ALONE

    def _theirs(self, dtype: str, alone: Sequence[Trials], adapter: ModelAdapter) -> Any:
        """peft with a plain loop over the batches of the trials alone; autocast where our weights are bfloat16."""
        from benchmarks.theirs import Theirs

        start = made(self.workload, adapter, 1e-3)[0].method
        theirs = Theirs(self.workload, self.device, start, autocast=dtype == "bfloat16")
        theirs.examples = [batch for one in alone for batch in one.examples[0]]
        return theirs

    def total(self, count: Callable[[Workload], float]) -> dict[str, float]:
        """What `count` finds in a pass of each side."""
        each = [count(replace(self.workload, seed=seed)) for seed in range(max(self.counts.values()))]
        return {name: sum(each[:trials]) for name, trials in self.counts.items()}


def rates(
    workload: Workload,
    dtype: str,
    packing: bool | str,
    device: torch.device,
    rounds: int,
    sizes: Sequence[int] = SIZES,
    peft: bool = False,
) -> dict[str, Any]:
    """Real tokens a second one by one and as gangs of some sizes: medians, quartiles, and ratios of medians.

    Tokens and not steps, as the trials' batches are not equally long.

    Args:
        peft: time peft in the same run.
    """
    if device.type == "cpu":
        workload = replace(workload, batches=1)
    sides = Sides(workload, dtype, packing, device, sizes, peft)
    bare = {"product": product(PRODUCTS[dtype], device)}
    seconds = interleaved(sides.work | bare, rounds, device)
    rate = product_flops(device) / summary(seconds["product"])["median"]
    real, needed = sides.total(tokens), sides.total(useful)
    found = {name: summary([real[name] / one for one in seconds[name]]) for name in sides.work}
    median = {name: values["median"] for name, values in found.items()}
    row = {
        "workload": workload.name,
        "what": workload.what,
        "dtype": dtype,
        "packing": packing,
        "rounds": rounds,
        "tokens_per_second": found,
        "ratio": {name: one / median["alone"] for name, one in median.items() if name != "peft"},
        "matmul_gflops": rate / 1e9,
        "utilisation": {name: needed[name] / real[name] * one / rate for name, one in median.items()},
    }
    if peft:
        row["over_peft"] = {name: one / median["peft"] for name, one in median.items() if name != "peft"}
    return row | ({"memory": _shares(sides.bytes)} if sides.bytes else {})


def _shares(taken: Mapping[int, int]) -> dict[str, Any]:
    """Peak bytes of one trial and of gangs, the ratios to one, and to what as many processes would take."""
    return {
        "bytes": dict(taken),
        "ratio": {size: one / taken[1] for size, one in taken.items()},
        "of_as_many_processes": {size: one / (size * taken[1]) for size, one in taken.items()},
    }


def peak_memory(suite: str, workload: str, dtype: str, packing: bool, size: int) -> int:
    """Bytes that a fresh process takes at most on a CPU for a step of a gang of `size` (1: one trial)."""
    options = [suite, workload, dtype, str(int(packing)), str(size)]
    code = "import sys; from benchmarks.joint import measured; print(measured(*sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that measures a gang of {size} ended with {done.returncode}: {done.stderr}")
    return int(done.stdout.split()[-1])


def measured(suite: str, workload: str, dtype: str, packing: str, size: str) -> int:
    """What the fresh process does."""
    [chosen] = [one for one in workloads(suite) if one.name == workload]
    chosen = replace(chosen, batches=1)
    adapter = loaded(chosen, dtype, packing == "1", torch.device("cpu"))
    Trials(chosen, range(int(size)), adapter).one_pass()
    return peak_resident()


def memory(suite: str, workload: str, dtype: str, packing: bool, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Peak memory on a CPU, each size in a fresh process, as `_shares`."""
    return _shares({size: peak_memory(suite, workload, dtype, packing, size) for size in (1, *sizes)})


def workloads(suite: str) -> tuple[Workload, ...]:
    """The suite's, and on a CPU T5 with batches so small that they leave two threads idle."""
    found = SUITES[suite]
    if suite != "cpu":
        return found
    small = replace(found[0], name="t5-5", batch_size=5, what=found[0].what.replace("batch of 8", "batch of 5"))
    return (small, *found)


def bench(
    suite: str,
    device: torch.device,
    rounds: int,
    dtypes: Sequence[str],
    packing: bool,
    sizes: Sequence[int] = SIZES,
    peft: bool = False,
    only: str | None = None,
) -> dict[str, Any]:
    """Everything above for every workload of a suite, or for one of them, with the machine."""
    rows, started = [], machine(device)
    for workload in workloads(suite):
        for dtype in dtypes if only in (None, workload.name) else ():
            row = rates(workload, dtype, packing, device, rounds, sizes, peft)
            if "memory" not in row:
                row["memory"] = memory(suite, workload.name, dtype, packing, sizes)
            rows.append(row)
            print(line(rows[-1]), flush=True)
    return {"suite": suite, "machine": started, "load_after": machine(device)["load"], "rows": rows}


def line(row: dict[str, Any]) -> str:
    """One workload as text: speed and memory of each size against one trial."""
    alone = row["tokens_per_second"]["alone"]["median"]
    sizes = [name for name in row["ratio"] if name != "alone"]
    parts = [
        f"{name}: {row['ratio'][name]:.2f}x, memory {row['memory']['ratio'][int(name.rpartition(' ')[2])]:.2f}x"
        for name in sizes
    ]
    parts += [f"{name} over peft {value:.2f}x" for name, value in row.get("over_peft", {}).items()]
    parts += [f"utilisation of {name} {value:.0%}" for name, value in row["utilisation"].items()]
    return f"{row['workload']} {row['dtype']}: alone {alone:.0f} tokens/s; " + "; ".join(parts)


def write(found: dict[str, Any], path: Path) -> None:
    """The figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
