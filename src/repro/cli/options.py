"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from repro.inference.restore import Finished


def count(text: str) -> int:
    """A whole number of at least 1, as an argument's type."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return number


def positive(text: str) -> float:
    """A finite number above 0, as an argument's type."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be a number above 0")
    return number


_FOLDERS = {
    "results": "folder with records/",
    "runs": "folder with the trials' own folders: checkpoints, prompts, predictions",
    "data": "the data root",
}


def folder(text: str) -> Path:
    """A folder, `~` expanded."""
    return Path(text).expanduser()


def folders(parser: argparse.ArgumentParser, *names: str) -> None:
    """`--results`, `--runs`, `--data`: those named."""
    for name in names:
        variable = f"REPRO_{name.upper()}_ROOT"
        about = f"{_FOLDERS[name]} (default: ${variable}, else {name})"
        parser.add_argument(f"--{name}", type=folder, default=folder(os.environ.get(variable) or name), help=about)


def model(parser: argparse.ArgumentParser, *more: str) -> None:
    """Options of commands that work with finished trials and their model; `more` folders than results and runs."""
    folders(parser, "results", "runs", *more)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def finished(options: argparse.Namespace, names: Sequence[str]) -> tuple[list[Finished], torch.device]:
    """The trials that a command names, and the device to use."""
    from repro.inference.restore import find
    from repro.trials.device import pick_device

    return [find(name, options.results, options.runs) for name in names], pick_device(options.device)


def experiments(parser: argparse.ArgumentParser) -> None:
    """Papers, exhibits and what narrows them."""
    parser.add_argument("what", nargs="*", help="a paper, an experiment (experiment=NAME too), or overrides key=value")
    parser.add_argument("--exhibits", default="", help="some of them, with commas: figure1,table2")
    parser.add_argument("--models", default="", help="words of model names, with commas: small,base")


def write(parser: argparse.ArgumentParser) -> None:
    """`--write`: into a file instead of to the terminal."""
    parser.add_argument("--write", type=Path, default=None, metavar="FILE", help="write a file instead of printing")


def print_or_write(text: str, path: Path | None) -> None:
    """Follow `--write`."""
    if path is None:
        print(text, end="")
        return
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}")
