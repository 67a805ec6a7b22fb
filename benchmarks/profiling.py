"""Where the time of a packed pass goes on one thread of a CPU: `python -m benchmarks.run_bench --profile`.

torch's profiler notes what each operation takes without those that it calls. Its own cost falls on short operations, so
shares are of the operations' sum, not of the wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.ours import Ours
from benchmarks.timing import machine
from benchmarks.workloads import SUITES, Workload
from repro.store.files import json_text

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
"""Kind: operations of aten, and our own attention of bfloat16 (`models.cpu_bfloat16`)."""
OTHER = "other"
DTYPES = ("float32", "bfloat16")
PASSES = 3


def kind_of(operation: str) -> str:
    """The kind of an operation by the profiler's name for it."""
    name = operation.removeprefix("aten::")
    return next((kind for kind, names in KINDS.items() if name in names), OTHER)


def profiled(workload: Workload, dtype: str, passes: int = PASSES) -> dict[str, Any]:
    """Seconds a pass by kind of operation, and those of the operations that take most of what is left over."""
    ours = Ours(workload, dtype, True, torch.device("cpu"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours.one_pass()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            for _ in range(passes):
                ours.one_pass()
    finally:
        torch.set_num_threads(threads)
    seconds = {event.key: event.self_cpu_time_total / 1e6 / passes for event in seen.key_averages()}
    kinds = dict.fromkeys((*KINDS, OTHER), 0.0)
    for operation, one in seconds.items():
        kinds[kind_of(operation)] += one
    rest = sorted(((one, name) for name, one in seconds.items() if kind_of(name) == OTHER), reverse=True)[:5]
    total = sum(kinds.values())
    return {
        "workload": workload.name,
        "what": workload.what,
        "dtype": dtype,
        "passes": passes,
        "seconds": total,
        "share": {kind: one / total for kind, one in kinds.items()},
        "largest_others": {name: one / total for one, name in rest},
    }


def run(suite: str, only: str | None, out: Path) -> dict[str, Any]:
    """Profile, print, and write `<out>/profile-<suite>.json`."""
    started = machine(torch.device("cpu")) | {"threads": 1}
    chosen = [one for one in SUITES[suite] if only in (None, one.name)]
    found = {"machine": started, "rows": [profiled(one, dtype) for one in chosen for dtype in DTYPES]}
    found["load_after"] = machine(torch.device("cpu"))["load"]
    out.mkdir(parents=True, exist_ok=True)
    (out / f"profile-{suite}.json").write_text(json_text(found))
    print(table(found))
    return found


def table(found: Mapping[str, Any]) -> str:
    """Shares of the time, a row a workload and type."""
    kinds = list(found["rows"][0]["share"])
    lines = ["| | seconds a pass | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 2) + "|"]
    for row in found["rows"]:
        shares = " | ".join(f"{row['share'][kind]:.0%}" for kind in kinds)
        lines.append(f"| {row['what']}, {row['dtype']} | {row['seconds']:.2f} | {shares} |")
    return "\n".join(lines)
