"""Look for damage in the store, or join the records of several machines. Exit code 1: damage, or an open conflict."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import options as shared
from repro.store.merging import CHOICES, merge
from repro.store.verifying import verify


def arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True)
    verifying = commands.add_parser("verify", help="find damage, say what mends it; exit code 1 if there is any")
    merging = commands.add_parser("merge", help="put the records of other results folders into one")
    merging.add_argument("sources", nargs="+", type=Path, metavar="FOLDER", help="results folders of other machines")
    merging.add_argument("--conflicts", choices=CHOICES, default="keep", help="which of two different results stays")
    shared.folders(verifying, "results", "runs")
    shared.folders(merging, "results")


def run(options: argparse.Namespace) -> int:
    if options.command == "verify":
        return _verify(options.results, options.runs)
    return _merge(options.sources, options.results, options.conflicts)


def _verify(results: Path, runs: Path) -> int:
    state = verify(results, runs)
    for problem in state.problems:
        print(problem)
    count = len(state.problems)
    total = "no problem" if not count else "1 problem" if count == 1 else f"{count} problems"
    print(f"{state.records} records in {results / 'records'}, {state.runs} folders in {runs}: {total}")
    return 1 if count else 0


def _merge(sources: list[Path], target: Path, conflicts: str) -> int:
    merged = merge(sources, target, conflicts)
    for line in merged.lines:
        print(line)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(merged.counts.items())) or "nothing to merge"
    print(f"into {target / 'records'}: {counts}")
    return 1 if merged.open else 0
