"""Turn a numpy prompt or a peft checkpoint into a file for method.start_from."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a .npy file, or a peft checkpoint's folder")
    parser.add_argument("--method", default="prompt_tuning", help="prompt_tuning, prefix_tuning or p_tuning_v2")
    parser.add_argument("--site", choices=("decoder", "encoder"), default="decoder", help="of a prefix")
    parser.add_argument("--out", type=Path, required=True, help="a new .safetensors file")


def run(options: argparse.Namespace) -> int:
    from repro.inference.import_prompt import import_prompt

    for name, shape in import_prompt(options.source, options.method, options.out, options.site).items():
        print(f"wrote {name} {list(shape)} to {options.out}: use it with method.start_from={options.out}")
    return 0
