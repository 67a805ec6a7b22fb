"""The difference of two groups of runs, and how far seeds and the test set leave it open.

A side is a record's key, or conditions such as method.name=p_tuning_v2,model.name=minilm.
"""

from __future__ import annotations

import argparse
import sys

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--metric", help="a value of the records (default: the metric of selection)")
    shared.folders(parser, "results")


def run(options: argparse.Namespace) -> int:
    from repro.report.compare.versus import versus
    from repro.store.damage import Damaged, damage_text

    damaged: list[Damaged] = []
    page = versus(options.a, options.b, options.results, options.metric, damaged.append)
    if damaged:
        print(damage_text(damaged), file=sys.stderr)
    print(page, end="")
    return 1 if damaged else 0
