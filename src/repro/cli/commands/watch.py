"""A live view of an experiment's trials, of a search's, or of all in a folder of runs; Ctrl-C ends it."""

from __future__ import annotations

import argparse

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", help="experiment=NAME and overrides that narrow it, or a folder of runs")
    shared.folders(parser, "results", "runs")
    parser.add_argument("--once", action="store_true", help="one frame (also where the output is no terminal)")
    parser.add_argument("--every", type=shared.positive, default=2.0, help="seconds between two looks (default: 2)")


def run(options: argparse.Namespace) -> int:
    from repro.sweeps.watch import watch

    watch(options.what, options.results, options.runs, None if options.once else options.every)
    return 0
