"""What Slurm says: tasks of ours in the queue, limits, the state of this very job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

SECONDS = 30.0
"""A controller that does not answer for so long is taken for absent."""
NAME = "repro-"
"""How our jobs' names begin; the rest is the submission and the array's number."""
_ENDING = ("COMPLETING", "CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")


@dataclass(frozen=True)
class Task:
    """One task of an array in the queue."""

    job: str
    """As Slurm names it: 12_3."""
    state: str
    left: str
    """Time to its limit, in Slurm's form."""
    reason: str
    """Why it waits."""

    @property
    def pending(self) -> bool:
        """Whether it waits to be started."""
        return self.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "SPECIAL_EXIT")

    @property
    def ending(self) -> bool:
        """Whether its processes are over, or are being killed."""
        return self.state in _ENDING


Tasks = dict[tuple[str, int], Task]
"""{(name of the array, number in it): the task}"""


def tasks() -> Tasks | None:
    """Our tasks that wait or run, by name and number; None where squeue is missing or does not answer."""
    form = "%j|%K|%F|%A|%T|%L|%r"
    printed = _ask(["squeue", "--noheader", "--array", f"--user={os.getuid()}", f"--format={form}"])
    if printed is None:
        return None
    found: Tasks = {}
    for line in printed.splitlines():
        name, number, array, _, state, left, reason = (line.strip().split("|", 6) + [""] * 7)[:7]
        if name.startswith(NAME) and number.isdigit():
            found[name, int(number)] = Task(f"{array}_{number}", state, left, reason)
    return found


def largest_array() -> int | None:
    """Tasks that the cluster allows in one array; None where it does not say."""
    printed = _ask(["scontrol", "show", "config"])
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", printed or "", re.MULTILINE)
    return int(found.group(1)) if found else None  # numbers of tasks go from 0 to one less


def this_job() -> str | None:
    """The job that this process belongs to, None outside of Slurm."""
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{number}" if array and number else os.environ.get("SLURM_JOB_ID")


def being_ended(job: str) -> bool:
    """Whether Slurm itself ends a job that gets SIGTERM: by `scancel`, or to put it back because its node is lost.

    A preempted job still runs at that moment, and one at its time limit says so. A job that is cancelled could be put
    back too, but whoever cancelled it does not want that.
    """
    printed = _ask(["scontrol", "--oneliner", "show", "job", job])
    state = dict(re.findall(r"(JobState|Reason)=(\S+)", printed or ""))
    return state.get("JobState") != "RUNNING" and state.get("Reason") not in ("TimeLimit", "Preempted")


def put_back(job: str) -> str | None:
    """Requeue a job; None, or why that could not be done."""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip()


def _ask(command: Sequence[str]) -> str | None:
    """What a program prints; None where it is missing, fails or does not end."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
