"""How much memory a process took."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_resident(status: Path = Path("/proc/self/status")) -> int:
    """Bytes of this process that were in memory at most at once.

    Linux's own count of the program, since `getrusage` begins with what the process that started it had; where there is
    no /proc, that.
    """
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    [kibibytes] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kibibytes) * 1024
