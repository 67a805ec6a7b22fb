"""Say what an exhibit or a paper would run: trials, memory, hours, downloads, what is missing."""

from __future__ import annotations

import argparse
import sys

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    from repro.sweeps.plan import TERAFLOPS

    shared.experiments(parser)
    shared.folders(parser, "results")
    shared.write(parser)
    parser.add_argument("--tflops", type=shared.positive, default=TERAFLOPS, help="assumed rate of a GPU in TFLOP/s")
    parser.add_argument("--not-reproducible", action="store_true", help="print what no experiment produces, and why")


def run(options: argparse.Namespace) -> int:
    from repro.store.damage import damage_text
    from repro.sweeps import plan

    if options.not_reproducible:
        from repro.sweeps.coverage import page

        shared.print_or_write(page(), options.write)
        return 0
    experiments, overrides, models = plan.selected(options.what, options.exhibits, options.models)
    planned = plan.make(experiments, overrides, models, options.results, options.tflops)
    if planned.damaged:
        print(damage_text(planned.damaged), file=sys.stderr)
    print(plan.text(planned, options.tflops, plan.comparable(planned)))
    return int(bool(planned.damaged))
