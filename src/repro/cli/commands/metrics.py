"""Print the page of metrics, or write it; or compute the values that a stored trial lacks."""

from __future__ import annotations

import argparse

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    """The page, or a trial to score."""
    shared.write(parser)
    shared.results(parser)
    shared.runs(parser)
    parser.add_argument("--score", metavar="KEY", default=None, help="a trial whose predictions are in the runs folder")
    parser.add_argument("--metric", action="append", default=[], metavar="CLASS", help="one more metric for --score")


def run(options: argparse.Namespace) -> int:
    """Print or write the page, or score."""
    if options.score is not None:
        from repro.evaluation.rescoring import rescore

        lines = rescore(options.score, options.results, options.runs, options.metric)
        print("\n".join(lines or ["nothing is missing"]))
        return 0
    from repro.cli.metrics_page import page

    shared.print_or_write(page(), options.write)
    return 0
