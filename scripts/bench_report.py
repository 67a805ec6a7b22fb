"""How long `repro report` takes on a synthetic store: `python scripts/bench_report.py [records]` (default 10,000).

The records are those of results/records with other lengths, learning rates, names of models and seeds, and as many
per-example statistics as a validation set of 1,000 examples has. Prints seconds by part; writes to a temporary folder.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from repro.config import run_key
from repro.papers import registry
from repro.report.contents import contents
from repro.report.files import texts, write_report
from repro.report.page import page
from repro.report.plotting import draw
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


def main() -> None:
    """Measures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
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


if __name__ == "__main__":
    main()
