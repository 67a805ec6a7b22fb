"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

PRINTED = "print it if not given"


def results(parser: argparse.ArgumentParser) -> None:
    """`--results`: the folder with records/."""
    _folder(parser, "results", "REPRO_RESULTS_ROOT", "folder with records/")


def runs(parser: argparse.ArgumentParser) -> None:
    """`--runs`: the folder with checkpoints, prompts and predictions of trials."""
    _folder(parser, "runs", "REPRO_RUNS_ROOT", "folder with the trials' own folders")


def data(parser: argparse.ArgumentParser) -> None:
    """`--data`: the data root."""
    _folder(parser, "data", "REPRO_DATA_ROOT", "the data root")


def _folder(parser: argparse.ArgumentParser, name: str, variable: str, about: str) -> None:
    default = Path(os.environ.get(variable) or name)
    parser.add_argument(f"--{name}", type=Path, default=default, help=f"{about} (default: ${variable}, else {name})")


def device(parser: argparse.ArgumentParser) -> None:
    """`--device` of commands that load a model."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def trial(parser: argparse.ArgumentParser) -> None:
    """One finished trial."""
    parser.add_argument("trial", help="run key or folder")


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
