"""Let several prompts of one cell vote; the vote becomes a record of its own."""

from __future__ import annotations

import argparse

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    shared.model(parser, "data")
    parser.add_argument("members", nargs="+", help="run keys, in the order that breaks ties")
    parser.add_argument("--batch-size", type=shared.count, default=32)


def run(options: argparse.Namespace) -> int:
    from repro.inference.ensemble import ensemble, shown
    from repro.store.store import Store

    trials, device = shared.finished(options, options.members)
    command = ["repro", "ensemble", *(trial.record.key for trial in trials)]
    record = ensemble(trials, options.data, options.batch_size, device, command)
    Store(options.results / "records").put(record)
    print(shown(record))
    return 0
