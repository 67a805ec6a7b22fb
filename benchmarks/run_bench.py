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
    parser.add_argument("--largest", action="store_true", help="prompt tuning of T5-XXL's shape (--suite tiny: tiny)")
    parser.add_argument("--profile", action="store_true", help="shares of a packed pass's time by kind of operation")
    parser.add_argument("--page", action="store_true", help="only write docs/performance.md from the results")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.page and (refused := _measure(options)):
        print(refused)
        return 2
    if options.page or (options.out == ROOT / "results" / "bench" and not options.peak_of):
        from benchmarks.page import page

        (ROOT / "docs" / "performance.md").write_text(page(options.out), encoding="utf-8")
    return 0


def _measure(options: argparse.Namespace) -> str | None:
    """What the options ask for; a sentence where that cannot be done here."""
    warnings.simplefilter("ignore")
    import torch

    from benchmarks import largest, measure, profiling

    device, suite = torch.device(options.device), options.suite or options.device
    if options.device == "cuda" and not torch.cuda.is_available():
        return "--device cuda: torch finds no CUDA device here. Run `make bench`, or go to a machine with a GPU."
    if options.largest and suite == "cpu":
        return "--largest: T5-XXL needs a CUDA device (--device cuda); --suite tiny runs a tiny shape here."
    if options.profile and options.device == "cuda":
        return "--profile: where a CPU's time goes; leave out --device cuda."
    if options.peak_of:
        print(json.dumps(measure.own_peak(suite, options.only, options.peak_of)))
    elif options.largest:
        largest.run(suite, device, options.out)
    elif options.profile:
        profiling.run(suite, options.only, options.out)
    else:
        measure.run(suite, device, options.rounds, options.only, options.out, peak=not options.no_peak)
    return None


if __name__ == "__main__":
    sys.exit(main())
