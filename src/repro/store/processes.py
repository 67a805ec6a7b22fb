"""Whether the process that wrote a file still runs: asked of locks and of temporary files that lie around."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from functools import cache
from pathlib import Path


@cache
def process_table() -> str:
    """Names the set of processes that we can look up: a container may share its host's name but not its processes."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


@cache
def short_table() -> str:
    """Eight hex digits for `process_table`, short enough for a file's name."""
    return hashlib.sha256(process_table().encode()).hexdigest()[:8]


def is_alive(pid: int, start: int | None = None) -> bool:
    """Whether a process runs on this machine. In doubt, it does.

    Args:
        start: when it started (`process_start`): tells it from a later one with the same pid. None: any will do.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's process: it is there
    found = process_start(pid, default=start)
    return found != -1 and (start is None or found == start)


def process_start(pid: int, default: int | None = None) -> int | None:
    """When a process started, in clock ticks since boot; -1 if it has ended but its parent did not collect it.

    Args:
        pid: the process.
        default: what to return where there is no /proc, or it hides the process.
    """
    try:
        # The second field is the program's name in parentheses and may hold anything, so count from the last one.
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return default
    state, start = after_name[0], int(after_name[19])
    return -1 if state in "ZX" else start
