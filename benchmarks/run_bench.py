"""Training speed against peft, in one run: `python -m benchmarks.run_bench`, `--device cuda`.

Writes results/bench/<suite>.json with the machine, the figure and docs/performance.md. `--page` writes the page alone.
`--largest` measures T5-XXL's shape instead (largest-<device>.json), `--profile` where a pass's time goes on one thread
of a CPU (profile-<suite>.json).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).parents[1]


def _measure(given: argparse.Namespace, suite: str, device: Any) -> None:
    """What the options ask for."""
    from benchmarks import largest, profiling, whole

    if given.largest:
        largest.run(suite, device, given.out)
    elif given.profile:
        profiling.run(suite, given.only, given.out)
    else:
        whole.run(suite, device, given.rounds, given.only, given.out, Path(__file__), peak=not given.no_peak)


def main() -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--suite", choices=("cpu", "cuda", "tiny"), help="shapes; by default the device's")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", help="one workload of the suite")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench")
    parser.add_argument("--no-peak", action="store_true", help="leave out peak memory (a process a variant)")
    parser.add_argument("--largest", action="store_true", help="prompt tuning of T5-XXL's shape (--suite tiny: tiny)")
    parser.add_argument("--profile", action="store_true", help="shares of a packed pass's time by kind of operation")
    parser.add_argument("--page", action="store_true", help="only write docs/performance.md from the results")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    from benchmarks.page import page

    if given.page:
        (ROOT / "docs" / "performance.md").write_text(page(given.out))
        return 0
    warnings.simplefilter("ignore")
    import torch

    device = torch.device(given.device)
    if given.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: torch finds no CUDA device here. Run `make bench`, or go to a machine with a GPU.")
        return 2
    suite = given.suite or given.device
    if given.peak_of:
        from benchmarks.measure import own_peak

        print(json.dumps(own_peak(suite, given.only, given.peak_of)))
        return 0
    if given.largest and suite == "cpu":
        print("--largest: T5-XXL needs a CUDA device (--device cuda); --suite tiny runs a tiny shape here.")
        return 2
    if given.profile and given.device == "cuda":
        print("--profile: where a CPU's time goes; leave out --device cuda.")
        return 2
    _measure(given, suite, device)
    if given.out == ROOT / "results" / "bench":
        (ROOT / "docs" / "performance.md").write_text(page(given.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
