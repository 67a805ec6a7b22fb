"""Print the table of metrics, or one metric's whole story; or compute the values that a stored trial lacks."""

from __future__ import annotations

import argparse

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a metric: its whole story; without it, the table of all")
    shared.write(parser)
    shared.folders(parser, "results", "runs")
    parser.add_argument("--score", metavar="KEY", default=None, help="a trial whose predictions are in the runs folder")
    parser.add_argument("--metric", action="append", default=[], metavar="NAME", help="one more metric for --score")


def run(options: argparse.Namespace) -> int:
    if options.score is not None:
        from repro.evaluation.rescoring import rescore

        lines = rescore(options.score, options.results, options.runs, options.metric)
        print("\n".join(lines or ["nothing is missing"]))
        return 0
    from repro.cli.metrics_page import page, story

    shared.print_or_write(page() if options.name is None else story(options.name), options.write)
    return 0
