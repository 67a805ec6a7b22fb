"""Interleaved timing, the machine's own rate of matrix products, and what autograd keeps."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.store.files import json_text
from repro.training.cuda_graphs import SEEN_BEFORE

ROOT = Path(__file__).parents[1]
"""Where `benchmarks` is found by its name."""
Facts = dict[str, Any]
"""What a file of results/bench holds, or a part of it."""

SHAPES = {"cpu": (2048, 1024, 4096), "cuda": (8192, 4096, 4096)}
"""Of the bare matrix product on a device: rows, inner, columns."""
PRODUCTS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
REPEATS = {"cpu": 8, "cuda": 20}
"""Products that are timed together: on a GPU one is over before the clock is read; on a CPU, where one takes 20 ms, the
medians of five single ones differed by a third from run to run, and all utilisations with them."""
WARM = {"cpu": 1, "cuda": SEEN_BEFORE + 2}
"""Passes before the first that is timed: on a GPU every shape is seen, recorded and replayed once."""


def synchronise(device: torch.device) -> None:
    """Wait for the device, where work is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], float | None], device: torch.device) -> float:
    """Wall-clock seconds of one call; a call that measures itself returns its own."""
    synchronise(device)
    started = time.perf_counter()
    own = work()
    synchronise(device)
    return time.perf_counter() - started if own is None else own


def interleaved(
    variants: Mapping[str, Callable[[], float | None]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of every variant in every round, one after another, each round beginning with another of them.

    Slow changes of the machine (heat, neighbours) meet all variants alike; ratios are taken between medians.
    """
    names = list(variants)
    for name in names:
        for _ in range(WARM[device.type]):  # allocations, caches of kernels, recordings
            seconds_of(variants[name], device)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        gc.collect()
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(seconds_of(variants[name], device))
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    ordered = sorted(seconds)
    low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    return {"median": statistics.median(ordered), "low": low, "high": high}


def product(dtype: torch.dtype, device: torch.device) -> Callable[[], None]:
    """The bare matrix products whose rate is the measure of utilisation."""
    rows, inner, columns = SHAPES[device.type]
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(columns, inner, device=device).to(dtype)

    def multiply() -> None:
        for _ in range(REPEATS[device.type]):
            torch.nn.functional.linear(left, right)

    return multiply


def product_flops(device: torch.device) -> float:
    """FLOPs of the bare products."""
    rows, inner, columns = SHAPES[device.type]
    return 2.0 * rows * inner * columns * REPEATS[device.type]


def peak_on_gpu(work: Callable[[], float | None], device: torch.device, before: int) -> int:
    """Bytes that a GPU's allocator has given out at most during the passes that warm `work` up, beyond `before`."""
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(WARM["cuda"]):
        seconds_of(work, device)
    return int(torch.cuda.max_memory_allocated(device)) - before


def allocated(device: torch.device) -> int:
    """Bytes that a GPU's allocator has given out; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    gc.collect()
    return int(torch.cuda.memory_allocated(device))


def saved_bytes(work: Callable[[], None], parameters: list[Tensor]) -> int:
    """Bytes of distinct storages that autograd keeps for the backward pass during `work`, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(kept.values())


def write(facts: Facts, path: Path) -> None:
    """As JSON; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_text(facts), encoding="utf-8")


def machine(device: torch.device) -> Facts:
    """Facts of the machine that a rate depends on; no name."""
    import transformers

    cpuinfo = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    facts = {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "load": [round(value, 2) for value in os.getloadavg()],
    }
    return facts | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})
