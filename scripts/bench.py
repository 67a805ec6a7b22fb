"""Training speed against peft, in one run: `python scripts/bench.py` (make bench), `--device cuda` (make bench-gpu).

Writes results/bench/<suite>.json with the machine, the figure and docs/performance.md. `--page` writes the page alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--suite", choices=("cpu", "cuda", "tiny"), help="shapes; by default the device's")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", help="one workload of the suite")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench")
    parser.add_argument("--no-peak", action="store_true", help="leave out peak memory (a process a variant)")
    parser.add_argument("--page", action="store_true", help="only write docs/performance.md from the results")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    from repro.bench.page import page

    if given.page:
        (ROOT / "docs" / "performance.md").write_text(page(given.out))
        return 0
    warnings.simplefilter("ignore")
    import torch

    from repro.bench.measure import own_peak

    device = torch.device(given.device)
    if given.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: torch finds no CUDA device here. Run `make bench`, or go to a machine with a GPU.")
        return 2
    suite = given.suite or given.device
    if given.peak_of:
        print(json.dumps(own_peak(suite, given.only, given.peak_of, device)))
        return 0
    from repro.bench.whole import run

    run(suite, device, given.rounds, given.only, given.out, Path(__file__), peak=not given.no_peak)
    if given.out == ROOT / "results" / "bench":
        (ROOT / "docs" / "performance.md").write_text(page(given.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
