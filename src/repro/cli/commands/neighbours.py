"""Print the words nearest to each row of a trained prompt."""

from __future__ import annotations

import argparse

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    """The trial."""
    shared.results(parser)
    shared.runs(parser)
    shared.device(parser)
    shared.trial(parser)
    parser.add_argument("--top", type=int, default=5)


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    from repro.inference.neighbours import neighbours
    from repro.inference.restore import find
    from repro.trials.device import pick_device

    trial = find(options.trial, options.results, options.runs)
    print(neighbours(trial, options.top, pick_device(options.device)).table())
    return 0
