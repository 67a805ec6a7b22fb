"""`repro paper`: what a paper reports, exhibit by exhibit, and where its own arithmetic does not hold."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from repro.errors import DataError
from repro.papers import registry

DESCRIPTION = "A paper's tables and figures as printed (numbers, editions, caveats), from the registry."


def paper(arguments: Sequence[str]) -> int:
    """Print the list of a paper's exhibits, one exhibit, the checks of its arithmetic, or its misquoted numbers."""
    from repro.papers import arithmetic, corrections, exhibits, rendering

    parser = argparse.ArgumentParser(prog="repro paper", description=DESCRIPTION)
    parser.add_argument("paper", help=f"one of {', '.join(registry.PAPERS)}")
    parser.add_argument("--exhibit", help="one table or figure, e.g. figure1 (without it: the list)")
    parser.add_argument("--edition", help="acl or v1, where the editions' numbers differ")
    parser.add_argument("--format", choices=rendering.FORMATS, default="markdown")
    parser.add_argument("--arithmetic", action="store_true", help="values that the paper's other numbers contradict")
    parser.add_argument("--corrections", action="store_true", help="its numbers that are widely misquoted")
    options = parser.parse_args(arguments)
    if options.corrections:
        print(corrections.page(options.paper), end="")
    elif options.arithmetic:
        print(arithmetic.page(options.paper), end="")
    elif options.exhibit is None:
        if options.edition:
            raise DataError(f"--edition {options.edition} belongs to an exhibit: add --exhibit.")
        print(rendering.listing(options.paper), end="")
    else:
        found = exhibits.exhibit(options.paper, options.exhibit, options.edition)
        print(rendering.render(found, options.format), end="")
    return 0
