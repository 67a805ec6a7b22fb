"""Let several prompts of one cell vote; the vote becomes a record of its own."""

from __future__ import annotations

import argparse

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    """The members."""
    shared.results(parser)
    shared.runs(parser)
    shared.data(parser)
    shared.device(parser)
    parser.add_argument("members", nargs="+", help="run keys, in the order that breaks ties")
    parser.add_argument("--batch-size", type=int, default=32)


def run(options: argparse.Namespace) -> int:
    """Vote, keep the record, print the table."""
    from repro.inference.ensemble import ensemble, shown
    from repro.inference.restore import find
    from repro.store.store import Store
    from repro.trials.device import pick_device

    trials = [find(name, options.results, options.runs) for name in options.members]
    command = ["repro", "ensemble", *(trial.record.key for trial in trials)]
    record = ensemble(trials, options.data, options.batch_size, pick_device(options.device), command)
    Store(options.results / "records").put(record)
    print(shown(record))
    return 0
