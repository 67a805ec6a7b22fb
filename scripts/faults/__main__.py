"""Inject every fault, print the table, keep it as JSON; exit code 1 if anything was lost."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.store.files import write_json_atomic
from scripts.faults import disks, kills, slurm, stores, sweeps, trackers
from scripts.faults.result import Result, as_json, table, with_table
from scripts.faults.trials import Place, place

Fault = Callable[[Place], Result | Iterable[Result]]


@dataclass(frozen=True)
class Counts:
    """How often what happens by chance is done, and to which command."""

    kills: int = 20
    """Of each trial in each way."""
    sweep_kills: int = 20
    """Of a whole command."""
    mini_kills: int = 12
    """Of `repro mini --short`."""
    command: str = sweeps.SMALL


def suite(counts: Counts) -> dict[str, Fault]:
    """{name: what injects it}"""
    called = "a sweep of six trials" if counts.command == sweeps.SMALL else counts.command[:40]
    return {
        "changes": lambda at: kills.at_random_changes(at, counts.kills),
        "moments": lambda at: kills.at_random_moments(at, counts.kills),
        "checkpoints": lambda at: kills.damaged_checkpoints(at, max(3, counts.kills // 5)),
        "storm": stores.storm,
        "killed writers": lambda at: stores.storm(at, kills=24),
        "half written": stores.half_written,
        "killed holders": stores.killed_holders,
        "dead locks": stores.dead_locks,
        "clock": stores.clock_jumps,
        "damaged records": stores.damaged_records,
        "full disk": disks.full_disk,
        "full disk under the log": disks.full_disk_under_the_log,
        "quota": disks.quota,
        "read-only": disks.read_only,
        "dead tracker": trackers.dead,
        "slow tracker": trackers.slow,
        "slurm": slurm.jobs,
        "sweep": lambda at: sweeps.under_kills(at, counts.command, called, counts.sweep_kills),
        "mini": lambda at: sweeps.miniature(at, "--short", counts.mini_kills),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.faults", description=__doc__)
    usual = Counts()
    parser.add_argument(
        "--kills", type=int, default=usual.kills, help="SIGKILLs of each trial in each way (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (%(default)s)")
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME", help="of the suite; see --list")
    parser.add_argument("--list", action="store_true", help="the names")
    parser.add_argument("--sweep", default=usual.command, metavar="COMMAND", help="under kills every few seconds")
    parser.add_argument("--sweep-kills", type=int, default=usual.sweep_kills, help="kills of it (%(default)s)")
    parser.add_argument("--mini-kills", type=int, default=usual.mini_kills, help="of the short miniature (%(default)s)")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file for the result")
    parser.add_argument("--add", action="store_true", help="keep the rows that the file of --out has already")
    parser.add_argument("--page", type=Path, default=None, help="a page whose last block of text shows the table")
    options = parser.parse_args()
    if options.add and (options.out is None or not options.out.is_file()):
        parser.error("--add keeps the rows of the file of --out, and there is none: leave --add out")
    faults = suite(Counts(options.kills, options.sweep_kills, options.mini_kills, options.sweep))
    if options.list or (options.only and not set(options.only) <= set(faults)):
        print("\n".join(faults))
        return 0 if options.list else 2
    logging.disable(logging.WARNING)  # a stale lock that is taken over, some hundred times
    before: dict[str, Any] = json.loads(options.out.read_text()) if options.add else {"faults": [], "seconds": 0}
    began, results = time.monotonic() - before["seconds"], [Result(**one) for one in before["faults"]]
    with tempfile.TemporaryDirectory(prefix="faults-") as root, place(Path(root), options.seed) as at:
        for name in options.only or faults:
            found = faults[name](at)
            found = [found] if isinstance(found, Result) else list(found)
            results += found
            for one in found:
                print(f"{one.fault}: {one.injected} injected, {one.lost} lost {one.note}", file=sys.stderr, flush=True)
            if options.out is not None:  # after each: whoever stops the suite keeps what there is
                write_json_atomic(options.out, as_json(results, options.seed, time.monotonic() - began))
    print(table(results))
    if options.page is not None:
        options.page.write_text(with_table(options.page.read_text(encoding="utf-8"), results), encoding="utf-8")
    return int(any(one.lost for one in results))


if __name__ == "__main__":
    raise SystemExit(main())
