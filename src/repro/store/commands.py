"""`repro store verify | merge`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from repro.store.merging import CHOICES, merge
from repro.store.verifying import verify


def store(arguments: Sequence[str]) -> int:
    """Look for damage in the store, or join the records of several machines."""
    parser = argparse.ArgumentParser(prog="repro store", description=store.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    look = commands.add_parser("verify", help="find damage, say what mends it; exit code 1 if there is any")
    join = commands.add_parser("merge", help="put the records of other results folders into one")
    join.add_argument("sources", nargs="+", type=Path, metavar="FOLDER", help="results folders of other machines")
    join.add_argument("--conflicts", choices=CHOICES, default="keep", help="which of two different results stays")
    for one in (look, join):
        results = Path(os.environ.get("REPRO_RESULTS_ROOT", "results"))
        one.add_argument("--results", type=Path, default=results, help="folder with records (default: results)")
    runs = Path(os.environ.get("REPRO_RUNS_ROOT", "runs"))
    look.add_argument("--runs", type=Path, default=runs, help="folder with the trials' files (default: runs)")
    options = parser.parse_args(arguments)
    if options.command == "verify":
        return _verify(options.results, options.runs)
    return _merge(options.sources, options.results, options.conflicts)


def _verify(results: Path, runs: Path) -> int:
    found = verify(results, runs)
    for problem in found.problems:
        print(problem)
    count = len(found.problems)
    said = "no problem" if not count else "1 problem" if count == 1 else f"{count} problems"
    print(f"{found.records} records in {results / 'records'}, {found.runs} folders in {runs}: {said}")
    return 1 if count else 0


def _merge(sources: list[Path], target: Path, conflicts: str) -> int:
    merged = merge(sources, target, conflicts)
    for line in merged.lines:
        print(line)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(merged.counts.items())) or "nothing to merge"
    print(f"into {target / 'records'}: {counts}")
    return 1 if merged.open else 0
