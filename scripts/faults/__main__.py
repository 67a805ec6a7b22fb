"""Inject every fault, print the table, keep it as JSON; exit code 1 if anything was lost."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from faults import disks, kills, slurm, stores, sweeps, trackers
from faults.result import Result, as_json, table, with_table
from faults.trials import Place, place
from repro.store.files import write_json_atomic

Fault = Callable[[Place], Result | Iterable[Result]]


def suite(number: int, command: str, of_sweep: int) -> dict[str, Fault]:
    """{name: what injects it}. `number`: kills of each trial in each way; `of_sweep`: those of the command."""
    return {
        "changes": lambda at: kills.at_random_changes(at, number),
        "moments": lambda at: kills.at_random_moments(at, number),
        "checkpoints": lambda at: kills.damaged_checkpoints(at, max(3, number // 5)),
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
        "sweep": lambda at: sweeps.under_kills(at, command, most=of_sweep),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of each trial in each way (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (default: 1)")
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME", help="of the suite; see --list")
    parser.add_argument("--list", action="store_true", help="the names")
    parser.add_argument(
        "--sweep", default=sweeps.SMALL, metavar="COMMAND", help="what runs under kills every few seconds"
    )
    parser.add_argument("--sweep-kills", type=int, default=30, help="kills of that command (default: 30)")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file for the result")
    parser.add_argument("--page", type=Path, default=None, help="a page whose last block of text shows the table")
    options = parser.parse_args()
    faults = suite(options.kills, options.sweep, options.sweep_kills)
    if options.list or (options.only and not set(options.only) <= set(faults)):
        print("\n".join(faults))
        return 0 if options.list else 2
    logging.disable(logging.WARNING)  # a stale lock that is taken over, some hundred times
    began, results = time.monotonic(), []
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
