"""What became of injected faults: a row each, the table of all of them, and the machine on which they were injected."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

_HEAD = ("fault", "injected", "refused or recovered", "lost")
_COUNTS = ("injected", "recovered", "lost")


@dataclass(frozen=True)
class Result:
    """Faults of one kind."""

    fault: str
    injected: int
    recovered: int
    """Those that were refused with a sentence, or after which the same command ended as if nothing had been."""
    lost: int
    """Results that were lost, torn, or came out otherwise. Anything but 0 is a defect."""
    note: str = ""
    """Why nothing was injected, or what was lost."""


def table(results: Sequence[Result]) -> str:
    """The rows in columns, as printed; notes below."""
    rows: list[tuple[str, str, str, str]] = [
        _HEAD,
        *((one.fault, f"{one.injected:,}", f"{one.recovered:,}", f"{one.lost:,}") for one in results),
    ]
    totals = [sum(vars(one)[name] for one in results) for name in _COUNTS]
    rows.append(("all", f"{totals[0]:,}", f"{totals[1]:,}", f"{totals[2]:,}"))
    width = max(len(row[0]) for row in rows)
    lines = [f"{name:<{width}}  {faults:>9}  {ended:>20}  {lost:>9}" for name, faults, ended, lost in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, "-" * len(lines[0]))
    return "\n".join([*lines, *(f"{one.fault}: {one.note}" for one in results if one.note)])


def with_table(page: str, results: Sequence[Result]) -> str:
    """A page whose last block of text is the table."""
    head, fence, _ = page.rpartition("```text\n")
    return f"{head}{fence}{table(results)}\n```\n"


def machine() -> dict[str, Any]:
    """Of the machine, what the numbers may depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "platform": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "load": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "file_system": file_system(Path.cwd()),
    }


def file_system(place: Path) -> str:
    """The type of file system on which a folder lies; `unknown` where /proc does not tell."""
    found, best = "unknown", ""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, point, kind = line.split()[:3]
        inside = str(place) == point or str(place).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            found, best = kind, point
    return found


def as_json(results: Sequence[Result], seed: int, seconds: float) -> dict[str, Any]:
    """What results/faults.json holds."""
    return {"machine": machine(), "seed": seed, "seconds": round(seconds), "faults": [asdict(one) for one in results]}
