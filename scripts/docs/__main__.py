"""The page of the small world: `python -m scripts.docs --write docs/microworld.md` (without: print it)."""

import sys
from pathlib import Path

from scripts.docs.microworld_page import page


def main(arguments: list[str]) -> int:
    """Print the page, or write it."""
    if len(arguments) == 2 and arguments[0] == "--write":
        Path(arguments[1]).write_text(page(), encoding="utf-8")
        print(f"wrote {arguments[1]}")
        return 0
    if arguments:
        print(__doc__)
        return 2
    print(page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
