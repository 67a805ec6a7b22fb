"""Print the table of tasks, or one task's whole story."""

from __future__ import annotations

import argparse

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a task: its whole story; without it, the table of all")
    shared.write(parser)


def run(options: argparse.Namespace) -> int:
    from repro.cli.tasks_page import page, story

    shared.print_or_write(page() if options.name is None else story(options.name), options.write)
    return 0
