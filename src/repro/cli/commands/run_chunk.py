"""Run the trials of a job's file; `repro sweep --launcher slurm` writes such files and submits them."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and the job's settings."""
    parser.add_argument("file", type=Path, help="array-N/M.json of a submission")
    parser.add_argument("--max-requeues", type=int, default=100, help="see hydra.launcher.max_requeues")
    parser.add_argument("--signal-seconds", type=float, default=120, help="see hydra.launcher.signal_seconds")


def run(options: argparse.Namespace) -> int:
    """Run them."""
    from repro.sweeps.executors.slurm.worker import run_chunk

    return run_chunk(options.file, options.max_requeues, options.signal_seconds)
