"""Trials into job arrays: only those that nobody has computed and nobody is about to compute.

submitit writes the batch scripts and hands them to sbatch; its own way to run Python (a pickled function, a pickled
result) is not used. A job runs `python -m repro run-chunk FILE`, and what it leaves is records.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.errors import ConfigError, StoreError, TrialFailed
from repro.sweeps.executors.slurm import queue, submission
from repro.sweeps.executors.slurm.chunks import cut
from repro.sweeps.executors.slurm.settings import PREFIX, Settings
from repro.sweeps.executors.slurm.states import FINISHED, State, States
from repro.sweeps.executors.slurm.submission import Submission
from repro.trials.spec import TrialSpec

ENDING_SECONDS = 10.0
"""So long we wait for a job that is ending, a second or two as a rule; one that hangs counts as gone."""


@dataclass
class Submitted:
    """What came of asking for some trials."""

    states: dict[str, State]
    """{run key: how it was found}, before anything was submitted."""
    results: Path = Path()
    runs: Path = Path()
    sent: list[TrialSpec] = field(default_factory=list)
    submission: Submission | None = None
    """None where nothing was left to submit."""
    waiting: list[str] = field(default_factory=list)

    def table(self) -> str:
        """What was submitted and why the rest was not, for people."""
        lines = []
        if self.submission is not None:
            lines += [f"{'job':<10} {'tasks':>6} {'trials':>7}"]
            for array in self.submission.arrays:
                trials = sum(map(len, array.tasks))
                lines.append(f"{array.job or 'not sent':<10} {len(array.tasks):>6} {trials:>7}")
        counts = Counter(
            state.status for key, state in self.states.items() if key not in {one.key for one in self.sent}
        )
        found = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
        lines.append(f"{len(self.sent)} trials submitted" + (f"; found {found}" if found else ""))
        if counts["failed"]:
            lines.append("what failed would fail again: `repro status` says why; --retry-failed (rerun=true) tries it")
        if self.waiting:
            lines.append(
                f"{len(self.waiting)} trials start from prompts that are not trained yet: submit them by the same "
                "command when the others are done"
            )
        if self.submission is not None:
            lines.append("`repro status` shows how they do, `repro sweep --resume` submits what was lost")
        return "\n".join(lines)


def submit(
    asked: Sequence[TrialSpec], settings: Settings, retry_failed: bool = False, waiting: Sequence[str] = ()
) -> Submitted:
    """Submit what is missing of some trials, and return at once.

    Args:
        retry_failed: also trials that failed for a reason that will come again (a trial with rerun=true always is).
        waiting: trials that cannot be submitted yet, for the table.

    Raises:
        ConfigError: no Slurm here, or sbatch refuses what is asked for.
        StoreError: the files of the jobs cannot be written.
    """
    once = list({one.key: one for one in asked}.values())
    if not once:
        return Submitted({}, waiting=list(waiting))
    _require_slurm()
    made = Submission.begin(once, settings.plain(), waiting)
    found, runs = _found(once, Path(made.results), Path(made.runs)), Path(made.runs)
    todo = [one for one in once if found[one.key].wanted(retry_failed or one.config.rerun)]
    done = Submitted(found, Path(made.results), runs, waiting=list(waiting))
    if not todo:
        return done
    sent = [one.again() if found[one.key].status == "failed" else one for one in todo]
    done.submission = made
    pieces = cut(sent, settings.trials_per_job)
    limit = min(settings.array_limit, queue.largest_array() or settings.array_limit)
    for start in range(0, len(pieces), limit):
        part = pieces[start : start + limit]
        folder = made.add(part)
        try:
            made.arrays[-1].job = _send(folder, made.arrays[-1].name, len(part), settings)
        except ConfigError as error:
            made.arrays.pop()  # it is in no queue
            if made.arrays:
                made.write()
                raise ConfigError(f"{error} What was submitted before:\n{done.table()}") from error
            shutil.rmtree(made.root, ignore_errors=True)
            with contextlib.suppress(OSError):  # others' submissions are there
                made.root.parent.rmdir()
            raise
        made.write()
        done.sent += [trial for piece in part for trial in piece]
    return done


def _found(asked: Sequence[TrialSpec], results: Path, runs: Path) -> dict[str, State]:
    """How each trial does; for one whose task is just ending, how it does then: cancelled, or back in the queue.

    Raises:
        ConfigError: the queue does not answer.
    """
    end = time.monotonic() + ENDING_SECONDS
    while True:
        tasks, places = queue.tasks(), submission.places(submission.all_of(runs))
        if tasks is None:
            raise ConfigError("squeue does not answer, so what is queued already is not known. Try again when it does.")
        states = States(results, runs, tasks, places)
        found = {one.key: states.of(one.key) for one in asked}
        if not any(_may_come_back(one, tasks, places) for one in found.values()) or time.monotonic() > end:
            return found
        time.sleep(ENDING_SECONDS / 20)


def _may_come_back(state: State, tasks: queue.Tasks, places: Mapping[str, Sequence[tuple[str, int]]]) -> bool:
    """Whether a trial that looks lost has a task that is ending: it may have stored its record after we looked, or be
    on its way back into the queue."""
    ending = {place for place, task in tasks.items() if task.ending}
    return state.status in ("missing", "interrupted") and bool(ending & set(places.get(state.key, ())))


def _require_slurm() -> None:
    missing = [name for name in ("sbatch", "squeue", "scontrol") if shutil.which(name) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: not on this machine's PATH, so nothing can be submitted. Log in where Slurm's "
            "commands are, or leave the launcher out to run the trials here."
        )


def _send(folder: Path, name: str, tasks: int, settings: Settings) -> str:
    """One array by sbatch; Slurm's id.

    Raises:
        ConfigError: sbatch refuses.
    """
    try:
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError as error:
        raise ConfigError("submitit is not installed: pip install 'repro[slurm]'.") from error

    python = settings.python or shlex.quote(sys.executable)
    limits = f"--max-requeues {settings.max_requeues} --signal-seconds {settings.signal_seconds}"
    command = f'{python} -u -m repro run-chunk {limits} {shlex.quote(str(folder))}/"$SLURM_ARRAY_TASK_ID".json'
    try:
        executor = SlurmExecutor(folder)
        executor.update_parameters(**options(name, settings))
        executor.parameters["map_count"] = tasks
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stderr(io.StringIO()):  # it repeats there what its error says
            # Its public way to run a command would pickle it, and the job would unpickle it.
            job = executor._submit_command(command if settings.srun else f"exec {command}")
    except (FailedJobError, FailedSubmissionError, RuntimeError) as error:
        said = re.findall(r"sbatch: error: (.+?)\.?$", str(error), re.MULTILINE) or [str(error)]
        raise ConfigError(
            f"sbatch refuses the jobs: {'; '.join(dict.fromkeys(said))}. Asked for were {settings.shown()}: correct "
            f"that in your site file, or give {PREFIX}partition=... and so on."
        ) from error
    except OSError as error:
        raise StoreError(f"cannot write the batch script in {folder}: {error}") from error
    return str(job.job_id)


def options(name: str, settings: Settings) -> dict[str, Any]:
    """The settings as submitit's parameters."""
    gpus = f"gpu:{settings.gpu_type}:{settings.gpus}" if settings.gpu_type else f"gpu:{settings.gpus}"
    more: dict[str, Any] = {"requeue": True}  # after a node's failure Slurm itself puts the job back
    if settings.mem is not None:
        more["mem"] = settings.mem
    if not settings.srun:  # the shell is replaced by the command, which then gets the shell's signal
        more["signal"] = f"B:USR2@{settings.signal_seconds}"
    given = {
        "job_name": name,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "time": settings.time,
        "gres": gpus if settings.gpus else None,
        "cpus_per_task": settings.cpus,
        "signal_delay_s": settings.signal_seconds,
        "array_parallelism": settings.throttle or 1_000_000,
        "setup": settings.setup or None,
        "use_srun": settings.srun,
        "wckey": None,
        "additional_parameters": more | settings.extra,
    }
    if settings.srun and settings.cpus > 1:  # since 22.05 a step does not inherit this from the job
        given["srun_args"] = [f"--cpus-per-task={settings.cpus}"]
    return given


def wait(done: Submitted, poll_seconds: float, say: Callable[[str], None] = print) -> None:
    """Stay until every trial that was asked for has ended.

    Raises:
        TrialFailed: one of them has no score; names them.
    """
    before = ""
    while True:
        states = look(done)
        counts = Counter(state.status for state in states)
        line = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
        if line != before:
            say(line)
            before = line
        if not counts["queued"] + counts["running"] + counts["submitted"]:
            break
        time.sleep(poll_seconds)
    bad = [state for state in states if state.status not in FINISHED]
    if bad:
        why = [(state.reason or "no reason known").rstrip(".") for state in bad[:5]]
        listed = "; ".join(f"{state.key} {state.status}: {said}" for state, said in zip(bad, why, strict=False))
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise TrialFailed(f"{len(bad)} of {len(states)} trials have no score: {listed}{more}. See `repro status`.")


def look(done: Submitted) -> list[State]:
    """How the trials that were asked for do now."""
    tasks, places = queue.tasks(), submission.places(submission.all_of(done.runs))
    states = States(done.results, done.runs, tasks, places)
    return [
        State(state.key, "running", reason="its job is ending") if _may_come_back(state, tasks or {}, places) else state
        for state in map(states.of, done.states)
    ]
