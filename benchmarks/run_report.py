"""How long `repro report` takes on a synthetic store, and a trial that is in the store already.

`python -m benchmarks.run_report [records] [--out FILE]` (default: 10,000 records).

The records are those of results/records with other lengths, learning rates, names of models and seeds, and as many
per-example statistics as a validation set of 1,000 examples has. The stored trial is one of results/mini, asked for by
the command that its record names, in a process of its own.
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
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.timing import Facts, machine, write
from repro.config.run_key import run_key
from repro.papers import registry
from repro.report.figures.plotting import draw
from repro.report.pages.contents import contents
from repro.report.pages.html_report import page
from repro.report.pages.write import texts, write_report
from repro.store.files import json_text
from repro.store.record import with_checksum
from repro.store.store import Store

ROOT = Path(__file__).parents[1]
SEEDS = 5
EXAMPLES = 1000
MODELS = ((None, "minilm"), ("roberta-large", "roberta-large"), ("bert-large", "bert-large"))
T = TypeVar("T")


def synthetic(count: int, folder: Path) -> None:
    """Writes `count` records."""
    bases = [json.loads(path.read_text()) for path in sorted((ROOT / "results" / "records").glob("*/record.json"))]
    generator = random.Random(0)
    per_example = {"test": {"accuracy": [[float(generator.random() < 0.7), 1.0] for _ in range(EXAMPLES)]}}
    settings = (
        (number, model, base, seed)
        for number in itertools.count(1)
        for model in MODELS
        for base in enumerate(bases[::6])
        for seed in range(1, SEEDS + 1)
    )
    for number, (paper_name, name), (index, base), seed in itertools.islice(settings, count):
        record = copy.deepcopy(base)
        config = record["config"]
        config["seed"] = record["seed"] = seed
        config["model"] |= {"name": name, "paper_name": paper_name}
        config["method"]["length"] = number % 128 + 1
        config["trainer"]["optimiser"]["learning_rate"] = 1e-4 * number + 1e-7 * index
        for row in record["metrics"].values():
            row.update({metric: value + generator.gauss(0, 1) for metric, value in row.items()})
        record |= {"key": run_key(config), "statistics": per_example}
        path = folder / record["key"] / "record.json"
        path.parent.mkdir()
        path.write_text(json_text(with_checksum(record)))


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


def report_of(count: int) -> Facts:
    """Seconds of the report of so many records; its parts are printed."""
    taken: dict[str, float] = {}

    def timed(label: str, work: Callable[[], T]) -> T:
        start, used = time.perf_counter(), time.process_time()
        result = work()
        taken[label] = time.perf_counter() - start
        print(f"{label}: {taken[label]:.1f} s ({time.process_time() - used:.1f} s of CPU)")
        return result

    with tempfile.TemporaryDirectory() as name:
        records, out = Path(name) / "records", Path(name) / "out"
        records.mkdir()
        synthetic(count, records)
        size = sum(path.stat().st_size for path in records.glob("*/record.json"))
        print(f"{count:,} records, {size / 2**20:.0f} MiB")
        whole = ("write_report, first time", "write_report, again, figures as they are")
        for label in whole:
            timed(label, lambda: write_report(records, out))
        print(f"index.html: {(out / 'index.html').stat().st_size / 2**20:.1f} MiB")
        read = timed("  read", lambda: list(Store(records).records(statistics=False)))
        compared = timed("  compare", lambda: contents(read, registry.cells()))
        drawn = timed("  draw", lambda: {figure.name: draw(figure)[1] for figure in compared.figures})
        timed("  texts", lambda: texts(compared))
        timed("  page", lambda: page(compared, drawn))
    return {"seconds": {label: taken[label] for label in whole}}


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="?", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="a JSON file for the seconds")
    options = parser.parse_args()
    facts = {"records": options.records, "machine": machine(torch.device("cpu")), **report_of(options.records)}
    facts["stored_trial"] = stored_trial()
    print(f"a trial that is in the store: {statistics.median(facts['stored_trial']):.2f} s")
    if options.out is not None:
        write(facts, options.out)


if __name__ == "__main__":
    main()
