"""The papers' claims as predicates, on the papers' own numbers and on ours.

Exit code 1: a claim fails on ours, or a record is damaged.
"""

from __future__ import annotations

import argparse
import sys

from repro.cli import options as shared

MINIATURE = "mini"


def arguments(parser: argparse.ArgumentParser) -> None:
    from repro.papers import registry

    parser.add_argument(
        "paper", nargs="?", help=f"one of {', '.join([*registry.PAPERS, MINIATURE])}; without it: all papers"
    )
    shared.folders(parser, "results")
    parser.add_argument("--format", choices=("markdown", "json"), default="markdown")


def run(options: argparse.Namespace) -> int:
    from repro.report.claims import check
    from repro.store.damage import damage_text

    if options.paper == MINIATURE:
        checked = check.in_miniature(options.results, options.format)
    else:
        checked = check.of_papers([options.paper] if options.paper else None, options.results, options.format)
    if checked.damaged:
        print(damage_text(checked.damaged), file=sys.stderr)
    print(checked.text, end="")
    return 1 if checked.fails or checked.damaged else 0
