"""What Slurm says: tasks of ours in the queue, limits, the state of this job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass

SECONDS = 30.0
"""A controller that does not answer within this time counts as absent."""
ENDING_SECONDS = 10.0
"""How long to wait for jobs that are ending: a second or two as a rule. One that hangs counts as gone."""
NAME = "repro-"
"""How our jobs' names begin."""
_PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "SPECIAL_EXIT")
_ENDING = ("COMPLETING", "CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")


@dataclass(frozen=True)
class QueuedTask:
    """One task of an array in the queue."""

    job: str
    """As Slurm names it: 12_3."""
    state: str
    reason: str
    """Why it waits."""

    @property
    def pending(self) -> bool:
        """Whether it waits to be started."""
        return self.state in _PENDING

    @property
    def ending(self) -> bool:
        """Whether its processes are over, or are being killed. A job that was requeued comes back from there."""
        return self.state in _ENDING


Queue = dict[tuple[str, int], QueuedTask]
"""{(name of the array, number of the task): its entry}"""


def missing_commands() -> list[str]:
    """Slurm's commands that are not on this machine; empty where there is a Slurm."""
    return [name for name in ("sbatch", "squeue", "scontrol") if shutil.which(name) is None]


def queue() -> Queue | None:
    """Our tasks that wait or run; None where squeue is missing or does not answer."""
    output, _ = ask("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%j|%K|%F|%T|%r")
    if output is None:
        return None
    tasks: Queue = {}
    for line in output.splitlines():
        name, number, array, state, reason = (line.strip().split("|", 4) + [""] * 5)[:5]
        if name.startswith(NAME) and number.isdigit():
            tasks[name, int(number)] = QueuedTask(f"{array}_{number}", state, reason)
    return tasks


def settled_queue() -> Queue | None:
    """The queue once no task is ending: by then it has left, or is back among those that wait."""
    end = time.monotonic() + ENDING_SECONDS
    while (tasks := queue()) is not None and any(task.ending for task in tasks.values()) and time.monotonic() < end:
        time.sleep(ENDING_SECONDS / 20)
    return tasks


def largest_array() -> int | None:
    """Tasks that the cluster allows in one array; None where it does not say."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config")[0] or "", re.MULTILINE)
    return int(match.group(1)) if match else None


def this_job() -> str | None:
    """The job that this process belongs to, None outside of Slurm."""
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{number}" if array and number else os.environ.get("SLURM_JOB_ID")


def being_ended(job: str) -> bool:
    """Whether Slurm itself ends a job that gets SIGTERM: by `scancel`, or to requeue it because its node is lost.

    A preempted job still runs at that moment, and one at its time limit says so. A cancelled job could be requeued too,
    but whoever cancelled it does not want that.
    """
    output, _ = ask("scontrol", "--oneliner", "show", "job", job)
    state = dict(re.findall(r"(JobState|Reason)=(\S+)", output or ""))
    return state.get("JobState") != "RUNNING" and state.get("Reason") not in ("TimeLimit", "Preempted")


def ask(*command: str) -> tuple[str | None, str]:
    """What a program prints, and why it failed; the first is None where it is missing, fails or does not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    return (done.stdout if done.returncode == 0 else None), done.stderr.strip()
