"""Count what methods train and store, beside the papers' numbers; or one config's, from overrides."""

from __future__ import annotations

import argparse

from repro.cli import options as shared
from repro.errors import ConfigError


def arguments(parser: argparse.ArgumentParser) -> None:
    from repro.trials.parameter_counts import PAPERS

    parser.add_argument("overrides", nargs="*", help="method=NAME model=NAME task=NAME ...: one config's counts")
    parser.add_argument("--paper", choices=PAPERS, default=None)
    parser.add_argument("--csv", action="store_true")
    parser.add_argument("--budget", type=shared.count, default=None, help="choose the method's size by what it stores")


def run(options: argparse.Namespace) -> int:
    from repro.trials import parameter_counts as counting

    if options.overrides and (options.paper or options.csv):
        raise ConfigError("repro params: give overrides of one config, or --paper and --csv for the papers' tables.")
    if options.budget is not None and not options.overrides:
        raise ConfigError("--budget: give one config with it: repro params method=lora model=gpt2-medium task=e2e.")
    if not options.overrides:
        print(counting.table(counting.rows_of(options.paper), options.csv))
        return 0
    if options.budget is None:
        config, counts = counting.of(options.overrides)
    else:
        size, config, counts = counting.matched(options.overrides, options.budget)
        off = 100 * (counts["stored"] / options.budget - 1)
        print(f"{size} stores {counts['stored']:,} numbers, {off:+.2f} % from {options.budget:,}")
    print(f"{config.method.name} on {config.model.name} ({config.task.name})")
    for name in ("trained", "stored", "prompt", "head", "frozen"):
        print(f"  {name:8} {counts[name]:>16,}")
    total = counts["frozen"] + counts["stored"]
    trained, stored = (100 * counts[name] / total for name in ("trained", "stored"))
    print(f"  trained {trained:.4g} % and stored {stored:.4g} % of the whole")
    return 0
