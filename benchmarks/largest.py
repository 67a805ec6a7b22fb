"""The largest model of the papers on one device: prompt tuning of T5-XXL's shape, its seconds and its memory.

`python -m benchmarks.run_bench --device cuda --largest`. The frozen weights are drawn in bfloat16 on the device itself.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import torch

from benchmarks.flops import tokens, useful
from benchmarks.ours import Ours
from benchmarks.timing import Facts, interleaved, machine, product, product_flops, seconds_of, write
from benchmarks.workloads import LARGEST, Workload
from repro.training.memory import peak_resident

STEPS = 6
"""The first sets libraries up and is left out of the median."""


def measured(workload: Workload, device: torch.device, steps: int = STEPS) -> Facts:
    """A few steps: their seconds and losses, peak memory, and whether memory made a step another one."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    ours = Ours(workload, "bfloat16", True, device)
    ours.run.graphs = False  # so long a pass does not wait for the host, and a recording has memory of its own
    seconds = [seconds_of(ours.one_pass, device) for _ in range(steps)]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_resident()
    times = interleaved({"product": product(torch.bfloat16, device)}, 5, device)["product"]
    rate = product_flops(device) / statistics.median(times)
    median, needed = statistics.median(seconds[1:]), useful(workload)
    weights = list(ours.adapter.backbone.whole.parameters())
    memory = ours.runner.plain.memory
    return {
        "workload": workload.what,
        "parameters": sum(weight.numel() for weight in weights),
        "weights_bytes": sum(weight.numel() * weight.element_size() for weight in weights),
        "tokens": tokens(workload),
        "seconds": seconds,
        "median": median,
        "useful_gflop": needed / 1e9,
        "matmul_gflops": rate / 1e9,
        "utilisation": needed / median / rate,
        "peak_bytes": int(peak),
        "times_as_many_passes": memory.times_as_many,
        "activations_computed_twice": ours.adapter.backbone.recomputes,
        "losses": ours.progress.losses,
    }


def run(suite: str, device: torch.device, out: Path) -> Facts:
    """Measure, print, and write `<out>/largest-<device>.json`."""
    facts = {"machine": machine(device), **measured(LARGEST[suite], device)}
    facts["load_after"] = machine(device)["load"]
    write(facts, out / f"largest-{device.type}.json")
    print(line(facts))
    return facts


def line(facts: Facts) -> str:
    """What was measured, as a sentence."""
    passes, twice = facts["times_as_many_passes"], facts["activations_computed_twice"]
    memory = "it fitted as it is" if passes == 1 and not twice else f"a step was cut into {passes} times as many passes"
    memory += ", and activations were computed twice" if twice else ""
    return (
        f"{facts['workload']}: {facts['parameters'] / 1e9:.2f}e9 parameters ({facts['weights_bytes'] / 1e9:.1f} GB in "
        f"bfloat16), a step {facts['median']:.2f} s (median of {len(facts['seconds']) - 1} after the first), "
        f"utilisation {facts['utilisation']:.0%}, peak {facts['peak_bytes'] / 1e9:.1f} GB; {memory}."
    )
