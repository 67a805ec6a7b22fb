"""Print the page of methods, or write it."""

from __future__ import annotations

import argparse

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    shared.write(parser)


def run(options: argparse.Namespace) -> int:
    from repro.cli.methods_page import page

    shared.print_or_write(page(), options.write)
    return 0
