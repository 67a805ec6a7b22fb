"""A paper's tables and figures as printed (numbers, editions, caveats), from the registry."""

from __future__ import annotations

import argparse

from repro.errors import DataError


def arguments(parser: argparse.ArgumentParser) -> None:
    from repro.papers import registry, rendering

    parser.add_argument("paper", help=f"one of {', '.join(registry.PAPERS)}")
    parser.add_argument("--exhibit", help="one table or figure, e.g. figure1 (without it: the list)")
    parser.add_argument("--edition", help="acl or v1, where the editions' numbers differ")
    parser.add_argument("--format", choices=rendering.FORMATS, default="markdown")
    parser.add_argument("--arithmetic", action="store_true", help="values that the paper's other numbers contradict")
    parser.add_argument("--corrections", action="store_true", help="its numbers that are widely misquoted")


def run(options: argparse.Namespace) -> int:
    from repro.papers import arithmetic, corrections, exhibits, rendering

    if options.corrections:
        text = corrections.page(options.paper)
    elif options.arithmetic:
        text = arithmetic.page(options.paper)
    elif options.exhibit is None:
        if options.edition:
            raise DataError(f"--edition {options.edition} belongs to an exhibit: add --exhibit.")
        text = rendering.listing(options.paper)
    else:
        exhibit = exhibits.exhibit(options.paper, options.exhibit, options.edition)
        text = rendering.render(exhibit, options.format)
    print(text, end="")
    return 0
