"""Write REPORT.md, index.html, tables and figures from the store, print a summary. Exit code 1: a damaged record."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from repro.cli import options as shared
from repro.errors import StoreError


def arguments(parser: argparse.ArgumentParser) -> None:
    shared.folders(parser, "results")
    parser.add_argument("--out", type=Path, default=None, help="where to write (default: the results folder)")
    parser.add_argument("--track", choices=("wandb", "tensorboard"), help="hand its tables and figures to a tracker")
    for name, default in (("project", "repro"), ("group", None), ("mode", "offline")):
        parser.add_argument(f"--{name}", default=default, help=f"tracker.{name} (default: {default})")


def run(options: argparse.Namespace) -> int:
    from repro.report.pages.terminal import print_summary
    from repro.report.pages.write import write_report
    from repro.store.damage import damage_text
    from repro.store.store import Store

    root = options.results / "records"
    if not Store(root).has_records():
        raise StoreError(
            f"{root}: no records there. Run a trial first (repro run ...), or name the folder with --results."
        )
    out = options.out or options.results
    written = write_report(root, out)
    damaged = written.contents.damaged
    if damaged:
        print(damage_text(damaged), file=sys.stderr)
    print_summary(written.contents, out)
    if options.track is not None:
        from repro.config.schema import TrackerConfig
        from repro.tracking.reports import track_report

        settings = TrackerConfig(name=options.track, project=options.project, group=options.group, mode=options.mode)
        runs = Path(os.environ.get("REPRO_RUNS_ROOT", "runs")).expanduser()
        print(f"tracked in {track_report(settings, out, written.paths, runs)}")
    return 1 if damaged else 0
