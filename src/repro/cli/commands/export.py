"""Write a trained prompt (or a tuned model) for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    """The trial, the format, the folder."""
    shared.results(parser)
    shared.runs(parser)
    shared.device(parser)
    shared.trial(parser)
    parser.add_argument("--format", default="safetensors", help="safetensors, peft or transformers")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")


def run(options: argparse.Namespace) -> int:
    """Write the files."""
    from repro.inference.export import export
    from repro.inference.restore import find
    from repro.trials.device import pick_device

    trial = find(options.trial, options.results, options.runs)
    for path in export(trial, options.format, options.out, pick_device(options.device)):
        print(f"wrote {path}")
    return 0
