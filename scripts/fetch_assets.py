"""Download the data sets that may be downloaded, checked by size and hash; a broken download is resumed.

    python scripts/fetch_assets.py --list
    python scripts/fetch_assets.py --only squad_v1 wnut17 --dest data

Licensed data is not fetched: the list says where a person gets it. No trial ever calls this.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from repro.doctor.fetch import fetch_all, listed


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch the data sets named, or list them all."""
    parser = argparse.ArgumentParser(prog="fetch_assets.py", description=main.__doc__)
    parser.add_argument("--list", action="store_true", help="what there is, how large, and under which licence")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="data sets of the list, or models")
    root = Path(os.environ.get("REPRO_DATA_ROOT") or "data")
    parser.add_argument("--dest", type=Path, default=root, help=f"the data root (here: {root})")
    parser.add_argument("--replace", action="store_true", help="also files that are there with another content")
    options = parser.parse_args(arguments)
    if options.list or not options.only:
        print(listed())
        return 0
    errors = fetch_all(options.only, options.dest, options.replace)
    for error in errors:
        print(f"fetch_assets.py: {error}", file=sys.stderr)
    return 2 if errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
