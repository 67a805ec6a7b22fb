"""Write a trained prompt (or a tuned model) for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    shared.model(parser)
    parser.add_argument("trial", help="run key or folder")
    parser.add_argument("--format", default="safetensors", help="safetensors, peft or transformers")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")


def run(options: argparse.Namespace) -> int:
    from repro.inference.export import export

    [trial], device = shared.finished(options, [options.trial])
    for path in export(trial, options.format, options.out, device):
        print(f"wrote {path}")
    return 0
