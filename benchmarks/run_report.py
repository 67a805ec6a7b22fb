"""How long `repro report` takes on a synthetic store, and a trial that is in the store already.

`python benchmarks/run_report.py [records] [--out FILE]` (default: 10,000 records).

The records are those of results/records with other lengths, learning rates, names of models and seeds, and as many
per-example statistics as a validation set of 1,000 examples has. Prints seconds by part; writes to a temporary folder.
The stored trial is one of results/mini, asked for by the command that its record names, in a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import machine
from repro.config.schema import run_key
from repro.papers import registry
from repro.report.figures.plotting import draw
from repro.report.pages.contents import contents
from repro.report.pages.html_report import page
from repro.report.pages.write import texts, write_report
from repro.store.files import json_text
from repro.store.store import Store

ROOT = Path(__file__).parents[1]
SEEDS = 5
EXAMPLES = 1000
MODELS = ((None, "minilm"), ("roberta-large", "roberta-large"), ("bert-large", "bert-large"))


def synthetic(count: int, folder: Path) -> None:
    """Writes `count` records."""
    bases = [json.loads(path.read_text()) for path in sorted((ROOT / "results" / "records").glob("*/record.json"))]
    generator = random.Random(0)
    statistics = {"test": {"accuracy": [[float(generator.random() < 0.7), 1.0] for _ in range(EXAMPLES)]}}
    settings = (
        (number, model, base) for number in itertools.count(1) for model in MODELS for base in enumerate(bases[::6])
    )
    written = 0
    while written < count:
        number, (paper_name, name), (index, base) = next(settings)
        for seed in range(1, SEEDS + 1):
            record = copy.deepcopy(base)
            config = record["config"]
            config["seed"] = record["seed"] = seed
            config["model"] |= {"name": name, "paper_name": paper_name}
            config["method"]["length"] = number % 128 + 1
            config["trainer"]["optimiser"]["learning_rate"] = 1e-4 * number + 1e-7 * index
            for row in record["metrics"].values():
                row.update({metric: value + generator.gauss(0, 1) for metric, value in row.items()})
            record |= {"key": run_key(config), "statistics": statistics}
            path = folder / record["key"] / "record.json"
            path.parent.mkdir()
            path.write_text(json_text(record))
            written += 1
            if written == count:
                return


def stored_trial(rounds: int = 5) -> list[float]:
    """Seconds of a whole process that asks for a trial whose record is there."""
    results = ROOT / "results" / "mini"
    record = json.loads(min((results / "records").glob("*/record.json")).read_text())
    words = record["provenance"]["command"][1:]
    command = [sys.executable, "-m", "repro", *words, f"paths.results_root={results}"]
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        assert record["key"] in done.stdout, done.stdout
    return seconds


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="?", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="a JSON file for the seconds")
    options = parser.parse_args()
    found = {"records": options.records, "machine": machine(torch.device("cpu")), **report_of(options.records)}
    found["stored_trial"] = stored_trial()
    print(f"a trial that is in the store: {statistics.median(found['stored_trial']):.2f} s")
    if options.out is not None:
        options.out.write_text(json_text(found))


def report_of(count: int) -> dict[str, Any]:
    """Seconds of the report of so many records, by part."""
    taken = {}
    with tempfile.TemporaryDirectory() as name:
        store, out = Path(name) / "records", Path(name) / "out"
        store.mkdir()
        synthetic(count, store)
        size = sum(path.stat().st_size for path in store.glob("*/record.json"))
        print(f"{count:,} records, {size / 2**20:.0f} MiB")
        clock, cpu = time.perf_counter, time.process_time
        for label in ("first time", "again, figures as they are"):
            start, used = clock(), cpu()
            write_report(store, out)
            taken[f"write_report, {label}"] = clock() - start
            print(f"write_report, {label}: {clock() - start:.1f} s ({cpu() - used:.1f} s of CPU)")
        print(f"index.html: {(out / 'index.html').stat().st_size / 2**20:.1f} MiB")
        parts = [("read", lambda _: list(Store(store).records(statistics=False)))]
        parts.append(("compare", lambda records: contents(records, registry.cells())))
        found, drawn = None, {}
        for label, work in parts:
            start, used = clock(), cpu()
            found = work(found)
            print(f"  {label}: {clock() - start:.1f} s ({cpu() - used:.1f} s of CPU)")
        for label, step in (
            ("draw", lambda: drawn.update({figure.name: draw(figure)[1] for figure in found.figures})),
            ("texts", lambda: texts(found)),
            ("page", lambda: page(found, drawn)),
        ):
            start, used = clock(), cpu()
            step()
            print(f"  {label}: {clock() - start:.1f} s ({cpu() - used:.1f} s of CPU)")
    return {"seconds": taken}


if __name__ == "__main__":
    main()
