"""Gangs against the same trials one after another: tokens a second, interleaved in one run, and peak memory.

`python scripts/bench_gang.py` runs it. Both sides are our own engine with the same packing and precision, so the ratio
is what company alone is worth. Memory is a process's own peak, each size in a fresh one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from repro.bench.flops import tokens
from repro.bench.ours import loaded, made
from repro.bench.timing import interleaved, machine, summary
from repro.bench.workloads import SUITES, Workload
from repro.training.checkpoint import Progress
from repro.training.memory import peak_resident
from repro.training.step import Company

SIZES = (2, 4, 8, 16)
ALONE = 4
"""Trials that one after another are timed with; a rate does not depend on how many they are."""


class Trials:
    """K trials of a workload over one backbone: other data and starting values each, other learning rates."""

    def __init__(self, workload: Workload, count: int, dtype: str, packing: bool | str, device: torch.device):
        self.adapter = loaded(workload, dtype, packing, device)
        self.batches, self.device = workload.batches, device
        every = [replace(workload, seed=seed) for seed in range(count)]
        self.runs = [made(one, self.adapter, 1e-3 * (1 + one.seed))[0] for one in every]
        self.progresses = [Progress() for _ in self.runs]
        self._company = Company()

    def together(self, count: int) -> None:
        """A step on every batch of the first `count` trials, as a gang."""
        for number in range(self.batches):
            self._step(range(count), number)

    def one_by_one(self, count: int) -> None:
        """The same, a trial at a time."""
        for trial in range(count):
            for number in range(self.batches):
                self._step([trial], number)

    def _step(self, trials: Sequence[int], number: int) -> None:
        """One step; every pass is over the same batches, whatever ran before."""
        progresses = [self.progresses[trial] for trial in trials]
        for progress in progresses:
            progress.step = number
        failures = self._company.step([self.runs[trial] for trial in trials], progresses)
        assert not any(failures), failures


def rates(
    workload: Workload, dtype: str, packing: bool | str, device: torch.device, rounds: int, sizes: Sequence[int] = SIZES
) -> dict[str, Any]:
    """Real tokens a second one by one and as gangs of some sizes: medians, quartiles, and ratios of medians.

    Tokens and not steps, as the trials' batches are not equally long.
    """
    workload = replace(workload, batches=1)
    trials = Trials(workload, max((ALONE, *sizes)), dtype, packing, device)
    variants = {"alone": lambda: trials.one_by_one(ALONE)}
    variants |= {f"gang of {size}": (lambda size=size: trials.together(size)) for size in sizes}  # type: ignore[misc]
    each = [tokens(replace(workload, seed=seed)) for seed in range(max((ALONE, *sizes)))]
    real = {"alone": sum(each[:ALONE])} | {f"gang of {size}": sum(each[:size]) for size in sizes}
    seconds = interleaved(variants, rounds, device)
    found = {name: summary([real[name] / one for one in timed]) for name, timed in seconds.items()}
    base = found["alone"]["median"]
    return {
        "workload": workload.name,
        "what": workload.what,
        "dtype": dtype,
        "packing": packing,
        "rounds": rounds,
        "tokens_per_second": found,
        "ratio": {name: values["median"] / base for name, values in found.items()},
    }


def peak_memory(suite: str, workload: str, dtype: str, packing: bool, size: int, device: torch.device) -> int:
    """Bytes that a fresh process takes at most for a step of a gang of `size` (1: one trial)."""
    options = [suite, workload, dtype, str(int(packing)), str(size), device.type]
    code = "import sys; from repro.bench.gangs import measured; print(measured(*sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that measures a gang of {size} ended with {done.returncode}: {done.stderr}")
    return int(done.stdout.split()[-1])


def measured(suite: str, workload: str, dtype: str, packing: str, size: str, kind: str) -> int:
    """What the fresh process does."""
    device = torch.device(kind)
    [chosen] = [one for one in workloads(suite) if one.name == workload]
    trials = Trials(replace(chosen, batches=1), int(size), dtype, packing == "1", device)
    trials.together(int(size))
    if kind == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident()


def memory(
    suite: str, workload: str, dtype: str, packing: bool, device: torch.device, sizes: Sequence[int] = SIZES
) -> dict[str, Any]:
    """Peak bytes of one trial and of gangs, the ratios to one, and what as many processes would take."""
    taken = {size: peak_memory(suite, workload, dtype, packing, size, device) for size in (1, *sizes)}
    return {
        "bytes": taken,
        "ratio": {size: one / taken[1] for size, one in taken.items()},
        "of_as_many_processes": {size: one / (size * taken[1]) for size, one in taken.items()},
    }


def workloads(suite: str) -> tuple[Workload, ...]:
    """The suite's, and on a CPU T5 with batches so small that they leave two threads idle."""
    found = SUITES[suite]
    if suite != "cpu":
        return found
    small = replace(found[0], name="t5-5", batch_size=5, what=found[0].what.replace("batch of 8", "batch of 5"))
    return (small, *found)


def bench(
    suite: str, device: torch.device, rounds: int, dtypes: Sequence[str], packing: bool, sizes: Sequence[int] = SIZES
) -> dict[str, Any]:
    """Everything above for every workload of a suite, with the machine."""
    rows, started = [], machine(device)
    for workload in workloads(suite):
        for dtype in dtypes:
            row = rates(workload, dtype, packing, device, rounds, sizes)
            rows.append(row | {"memory": memory(suite, workload.name, dtype, packing, device, sizes)})
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
    return f"{row['workload']} {row['dtype']}: alone {alone:.0f} tokens/s; " + "; ".join(parts)


def write(found: dict[str, Any], path: Path) -> None:
    """The figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
