"""Gangs against the same trials one after another: python scripts/bench_gang.py [--suite tiny] [--real]."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch


def main() -> None:
    """Print the figures, and write them below the results folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=("cpu", "cuda", "tiny"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--sizes", default="2,4,8,16")
    parser.add_argument("--padded", action="store_true", help="without packing")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    parser.add_argument("--real", action="store_true", help="a sweep on CoNLL04 with MiniLM instead")
    parser.add_argument("overrides", nargs="*", help="of that sweep: trainer.epochs=2 task.limit.train=320")
    options = parser.parse_args()
    if options.real:
        from repro.bench import gang_sweep
        from repro.composing import register

        register()
        with tempfile.TemporaryDirectory() as folder:
            found = gang_sweep.compare(Path(folder), options.overrides)
        print(json.dumps({key: value for key, value in found.items() if not key.startswith("scores")}, indent=1))
        name = "gang-conll04-minilm.json"
    else:
        from repro.bench import gangs

        device = torch.device("cuda" if options.suite == "cuda" else "cpu")
        sizes = tuple(int(size) for size in options.sizes.split(","))
        found = gangs.bench(options.suite, device, options.rounds, options.dtypes.split(","), not options.padded, sizes)
        name = f"gangs-{options.suite}.json"
    from repro.bench.gangs import write

    write(found, options.out / name)
    print(f"wrote {options.out / name}")


if __name__ == "__main__":
    main()
