"""Joint training against the same trials one by one: python -m benchmarks.run_joint [--suite tiny] [--real e2e]."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> int:
    """Print the figures, and write them below the results folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=("cpu", "cuda", "tiny"), default="cpu")
    parser.add_argument("--rounds", type=int, help="5, of a real sweep 3")
    parser.add_argument("--dtypes", help="float32; of the suite cuda bfloat16")
    parser.add_argument("--only", help="one workload of the suite")
    parser.add_argument("--peft", action=argparse.BooleanOptionalAction, help="time peft too, as the suite cuda does")
    parser.add_argument("--sizes", default="2,4,8,16")
    parser.add_argument("--padded", action="store_true", help="without packing")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    parser.add_argument("--real", choices=("conll04", "e2e"), help="a sweep on this data instead")
    parser.add_argument("overrides", nargs="*", help="of that sweep: trainer.epochs=2 task.limit.train=320")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    return _sweep(options) if options.real else _suite(options)


def _sweep(options: argparse.Namespace) -> int:
    from benchmarks.joint_sweep import SWEEPS, compare
    from benchmarks.timing import write

    sweep = SWEEPS[options.real]
    with tempfile.TemporaryDirectory() as folder:
        facts = compare(Path(folder), sweep, options.overrides, options.rounds or 3)
    print(json.dumps({key: value for key, value in facts.items() if not key.startswith("scores")}, indent=1))
    write(facts, options.out / f"{sweep.name}.json")
    return 0


def _suite(options: argparse.Namespace) -> int:
    import torch

    from benchmarks.joint import Settings, bench
    from benchmarks.timing import write

    on_gpu = options.suite == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("--suite cuda: torch finds no CUDA device here. Go to a machine with a GPU.")
        return 2
    settings = Settings(
        torch.device("cuda" if on_gpu else "cpu"),
        options.rounds or 5,
        packing=not options.padded,
        sizes=tuple(int(size) for size in options.sizes.split(",")),
        peft=on_gpu if options.peft is None else options.peft,
    )
    dtypes = (options.dtypes or ("bfloat16" if on_gpu else "float32")).split(",")
    facts = bench(options.suite, dtypes, settings, options.only)
    write(facts, options.out / f"joint-{options.suite}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
