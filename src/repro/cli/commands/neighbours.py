"""Print the words nearest to each row of a trained prompt."""

from __future__ import annotations

import argparse

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    shared.model(parser)
    parser.add_argument("trial", help="run key or folder")
    parser.add_argument("--top", type=shared.count, default=5)


def run(options: argparse.Namespace) -> int:
    from repro.inference.neighbours import neighbours

    [trial], device = shared.finished(options, [options.trial])
    print(neighbours(trial, options.top, device).table())
    return 0
