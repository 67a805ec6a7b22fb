"""Inject every fault, print the table, keep it as JSON; exit code 1 if anything was lost."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from repro.store.files import write_json_atomic
from scripts.faults.registry import SCENARIOS, Counts
from scripts.faults.registry import results as scenario_results
from scripts.faults.result import Result, as_json, table, with_table
from scripts.faults.trials import place


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.faults", description=__doc__)
    usual = Counts()
    parser.add_argument(
        "--kills", type=int, default=usual.kills, help="SIGKILLs of each trial in each way (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (%(default)s)")
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME", help="of the suite; see --list")
    parser.add_argument("--list", action="store_true", help="the names, and what each tests")
    parser.add_argument("--sweep", default=usual.command, metavar="COMMAND", help="under kills every few seconds")
    parser.add_argument("--sweep-kills", type=int, default=usual.sweep_kills, help="kills of it (%(default)s)")
    parser.add_argument("--mini-kills", type=int, default=usual.mini_kills, help="of the short miniature (%(default)s)")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file for the result")
    parser.add_argument("--add", action="store_true", help="keep the rows that the file of --out has already")
    parser.add_argument("--page", type=Path, default=None, help="a page whose last block of text shows the table")
    options = parser.parse_args()
    if options.add and (options.out is None or not options.out.is_file()):
        parser.error("--add keeps the rows of the file of --out, and there is none: leave --add out")
    counts = Counts(options.kills, options.sweep_kills, options.mini_kills, options.sweep)
    if options.list or (options.only and not set(options.only) <= set(SCENARIOS)):
        print("\n".join(f"{name:<24} {scenario.promise}" for name, scenario in SCENARIOS.items()))
        return 0 if options.list else 2
    logging.disable(logging.WARNING)  # a stale lock that is taken over, some hundred times
    before: dict[str, Any] = json.loads(options.out.read_text()) if options.add else {"faults": [], "seconds": 0}
    began, results = time.monotonic() - before["seconds"], [Result(**one) for one in before["faults"]]
    with tempfile.TemporaryDirectory(prefix="faults-") as root, place(Path(root), options.seed) as at:
        for name in options.only or SCENARIOS:
            new = scenario_results(name, at, counts)
            results += new
            for one in new:
                print(f"{one.fault}: {one.injected} injected, {one.lost} lost {one.note}", file=sys.stderr, flush=True)
            if options.out is not None:  # after each: whoever stops the suite keeps what there is
                write_json_atomic(options.out, as_json(results, options.seed, time.monotonic() - began))
    print(table(results))
    if options.page is not None:
        options.page.write_text(with_table(options.page.read_text(encoding="utf-8"), results), encoding="utf-8")
    return int(any(one.lost for one in results))


if __name__ == "__main__":
    raise SystemExit(main())
