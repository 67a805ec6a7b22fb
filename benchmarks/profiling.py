"""Where the time of a packed pass goes on one thread of a CPU: `python -m benchmarks.run_bench --profile`.

torch's profiler notes what each operation takes without those that it calls. Its own cost falls on short operations, so
shares are of the operations' sum, not of the wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.ours import Ours
from benchmarks.timing import Facts, machine, write
from benchmarks.workloads import SUITES, Workload

KINDS: Mapping[str, tuple[str, ...]] = {
    "matrix products": ("mm", "addmm", "linear", "mkldnn_linear", "_addmm_activation"),
    "attention": (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
        "_scaled_dot_product_attention_math",
        "_Attention",
        "_AttentionBackward",
    ),
    "batched products": ("bmm", "baddbmm"),
    "copies and casts": (
        *("copy_", "clone", "cat", "stack", "index", "index_select", "index_copy_", "index_add", "index_add_"),
        *("gather", "scatter", "embedding", "constant_pad_nd", "slice_backward", "zeros", "zero_", "fill_", "empty"),
    ),
}
"""Kind: operations of aten, and our own attention for bfloat16 on a CPU."""
OTHER = "other"
DTYPES = ("float32", "bfloat16")
PASSES = 3


def kind_of(operation: str) -> str:
    """The kind of an operation by the profiler's name for it."""
    name = operation.removeprefix("aten::")
    return next((kind for kind, names in KINDS.items() if name in names), OTHER)


def profiled(workload: Workload, dtype: str, passes: int = PASSES) -> Facts:
    """Seconds a pass by kind of operation, and the largest of the other operations."""
    ours = Ours(workload, dtype, True, torch.device("cpu"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours.one_pass()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for _ in range(passes):
                ours.one_pass()
    finally:
        torch.set_num_threads(threads)
    seconds = {event.key: event.self_cpu_time_total / 1e6 / passes for event in profiler.key_averages()}
    kinds = dict.fromkeys((*KINDS, OTHER), 0.0)
    for operation, taken in seconds.items():
        kinds[kind_of(operation)] += taken
    others = sorted(((taken, name) for name, taken in seconds.items() if kind_of(name) == OTHER), reverse=True)[:5]
    total = sum(kinds.values())
    return {
        "workload": workload.name,
        "what": workload.what,
        "dtype": dtype,
        "passes": passes,
        "seconds": total,
        "share": {kind: taken / total for kind, taken in kinds.items()},
        "largest_others": {name: taken / total for taken, name in others},
    }


def run(suite: str, only: str | None, out: Path) -> Facts:
    """Profile, print, and write `<out>/profile-<suite>.json`."""
    started = machine(torch.device("cpu")) | {"threads": 1}
    workloads = [workload for workload in SUITES[suite] if only in (None, workload.name)]
    facts: Facts = {"machine": started, "rows": [profiled(one, dtype) for one in workloads for dtype in DTYPES]}
    facts["load_after"] = machine(torch.device("cpu"))["load"]
    write(facts, out / f"profile-{suite}.json")
    print(table(facts))
    return facts


def table(facts: Facts) -> str:
    """Shares of the time, a row a workload; cells hold the types' values."""
    rows, kinds = facts["rows"], list(facts["rows"][0]["share"])
    lines = ["| | seconds a pass | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 2) + "|"]
    for what in dict.fromkeys(row["what"] for row in rows):
        same = [row for row in rows if row["what"] == what]
        cells = [", ".join(f"{row['seconds']:.2f}" for row in same)]
        cells += [", ".join(f"{row['share'][kind]:.0%}" for row in same) for kind in kinds]
        lines.append(f"| {what.partition(',')[0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
