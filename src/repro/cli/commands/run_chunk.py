"""Run the trials of one task of a job array; `repro sweep --launcher slurm` submits such arrays."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("array", type=Path, help="folder of the array: runs/slurm/...")
    parser.add_argument("task", type=int, help="number of the task, from 0")


def run(options: argparse.Namespace) -> int:
    from repro.sweeps.executors.slurm.worker import run_task

    return run_task(options.array, options.task)
