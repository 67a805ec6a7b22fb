"""A whole suite: every workload, padding on real data, the machine; written as it goes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import VARIANTS, measured, peak_megabytes
from benchmarks.padding import shares
from benchmarks.page import figure
from benchmarks.timing import machine
from benchmarks.workloads import SUITES
from repro.store.files import json_text


def run(
    suite: str, device: torch.device, rounds: int, only: str | None, out: Path, script: Path, peak: bool = True
) -> dict[str, Any]:
    """Measure and write `<out>/<suite>.json` and its figure; what another workload left in the file stays.

    Args:
        only: name of one workload; None: all.
        script: runs one variant in a process of its own, for its peak memory on a CPU.
    """
    path = out / f"{suite}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = json.loads(path.read_text()) if only and path.exists() else {}
    found["machine"] = machine(device)
    for workload in SUITES[suite]:
        if only not in (None, workload.name):
            continue
        row = measured(workload, rounds, device)
        for variant in VARIANTS if peak and device.type == "cpu" else ():
            row["variants"][variant]["peak_mb"] = peak_megabytes(suite, workload.name, variant, script)
        found.setdefault("workloads", {})[workload.name] = row
        _say(workload.name, row)
    data_root = Path(os.environ.get("REPRO_DATA_ROOT") or "data")  # what is not there, the page says
    found["padding"] = {} if suite == "tiny" else shares(data_root)
    found["load_after"] = [round(value, 2) for value in os.getloadavg()]
    path.write_text(json_text(found))
    figure(found, path.with_suffix(".svg"))
    return found


def _say(name: str, row: dict[str, Any]) -> None:
    print(f"{name}: {row['workload']}")
    for variant, one in row["variants"].items():
        speed = one["speed"]
        print(
            f"  {variant:24s} {one['seconds']['median']:7.3f} s  {speed['median']:5.2f}x [{speed['low']:.2f}, "
            f"{speed['high']:.2f}]  utilisation {one['utilisation']:.0%}  kept {one['saved_mb']:.0f} MB  "
            f"peak {one.get('peak_mb', float('nan')):.0f} MB",
            flush=True,
        )
