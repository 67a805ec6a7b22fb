"""The three papers in miniature: train prompts on small models and tasks that come with the project, and compare.

Writes the report, judges the claims and compares with the committed reference.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import options as shared

DEFAULT = "my-mini"
"""Results of a run that names no folder; git ignores it."""
WORKERS = 2


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--short", action="store_true", help="one seed of one task of each family, as CI runs it")
    parser.add_argument("--results", type=Path, default=Path(DEFAULT), help=f"folder for the results ({DEFAULT})")
    parser.add_argument("--runs", type=Path, default=None, help="folder for checkpoints (runs/<name of the results>)")
    parser.add_argument("--reference", type=Path, default=None, help="results to compare with (results/mini)")
    parser.add_argument("--page", type=Path, default=None, help="only fill this page's tables from the results")
    parser.add_argument("--workers", type=shared.count, default=WORKERS, help=f"processes of a thread each ({WORKERS})")


def run(options: argparse.Namespace) -> int:
    from repro.sweeps.miniature import command

    if options.page is not None:
        command.fill(options.page, options.results)
        return 0
    return command.run(options.results, options.runs, options.reference, options.workers, options.short)
