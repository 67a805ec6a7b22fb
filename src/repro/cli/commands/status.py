"""How the trials of an experiment, or of all that was submitted, are doing: by records, run folders and squeue."""

from __future__ import annotations

import argparse

from repro.cli import options as shared
from repro.errors import ConfigError
from repro.store.damage import Damaged, damage_text


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", help="experiment=NAME, and overrides key=value that narrow it")
    shared.folders(parser, "results", "runs")
    parser.add_argument("--all", action="store_true", help="list every trial, however many there are")


def run(options: argparse.Namespace) -> int:
    from repro.sweeps import grids, status

    experiments, overrides = grids.names_and_overrides(options.what)
    if len(experiments) > 1 or (overrides and not experiments):
        raise ConfigError("name one experiment, as in `repro status experiment=offline/cb seed=1`, or nothing for all.")
    damaged: list[Damaged] = []
    name = experiments[0] if experiments else None
    trials = status.trials(options.runs, name, overrides, damaged.append)
    if damaged:
        print(damage_text(damaged))
    if not trials:
        print(f"nothing was submitted or runs beside {options.runs}")
        return int(bool(damaged))
    states, answered = status.look(list(trials), options.results, options.runs)
    print("\n".join(status.table(states, status.names(trials), options.all)))
    if not answered:
        print("(no queue: squeue is not here or does not answer; what waits or runs elsewhere is told by its files)")
    return int(bool(damaged) or any(state.status == "damaged" for state in states))
