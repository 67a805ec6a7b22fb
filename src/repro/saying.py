"""Lines for whoever watches. A log on a full disk, or a terminal that went away, costs the line and not the trial."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line (to standard output), at once, if that is possible."""
    with contextlib.suppress(OSError):
        print(text, file=stream or sys.stdout, flush=True)
