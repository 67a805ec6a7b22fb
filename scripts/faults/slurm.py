"""Faults of jobs on a real one-node Slurm, and what became of their trials.

Small trials are submitted as an array, two jobs at a time; each job trains its two trials jointly. Then jobs are
killed, cancelled, preempted, warned of their time limit, and lose their node; what was lost is submitted again.
Meanwhile the same trials run here without a cluster, one after another. A job has recovered when the records and
prompts of its trials are those of the undisturbed run, and is lost otherwise. Numbers may differ as they do between
joint training and a trial alone, in the order of sums: the arithmetic is float64, the trained numbers are float32.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.sweeps.executors.slurm.arrays import JobArray
from scripts.faults.cluster import Bench, cluster, unavailable
from scripts.faults.result import Result
from scripts.faults.trials import Place

Hit = dict[str, list[list[str]]]
"""{fault: run keys of each job that it hit}"""

TRIAL = (
    *("method=prompt_tuning", "method.length=4", "method.initialisation=sampled_vocabulary", "model=tiny-bert"),
    *("task=rte", "task.check_rows=false", "task.max_input_length=48", "trainer.epochs=null"),
    *("trainer.batch_size=4", "trainer.evaluate_every=40", "trainer.device=cpu", "trainer.threads=1"),
    *("trainer.dtype=float64", "trainer.checkpoint_seconds=0.2"),
)
JOBS = ("gpus=0", "cpus=1", "mem=500M", "trials_per_job=2", "time=30", "signal_seconds=10")
RESULTS = (
    *("key", "status", "reason", "metrics", "statistics", "curve", "selection", "parameters", "deviations", "config"),
)
COUNTS = ("steps", "examples", "tokens")
TOLERANCE = 1e-5
"""Of a number, relative to the larger one or to 1: what the order of sums may change in float32."""


def jobs(place: Place) -> list[Result]:
    """Every fault, once; not where there is no Slurm."""
    if why := unavailable():
        return [Result("Slurm: jobs killed, cancelled, preempted", 0, 0, 0, f"not injected: {why}")]
    folder = place.fresh("slurm")
    with cluster(folder / "state") as slurm:
        return measured(Bench(folder, slurm), EVERYTHING)[0]


def measured(bench: Bench, faults: Faults) -> tuple[list[Result], Hit]:
    """The faults, and the trials against an undisturbed run; which trials were hit.

    Raises:
        RuntimeError: the undisturbed run failed.
    """
    undisturbed = bench.start("run", "-m", *faults.trials, where="local")
    try:
        hit = faults.inject(bench, faults.trials)
        if undisturbed.wait(600) != 0:
            raise RuntimeError((bench.folder / "local.log").read_text())
    finally:
        undisturbed.kill()
        undisturbed.wait()
    found = []
    for name, each in hit.items():
        wrong = [said for keys in each if (said := " ".join(_difference(bench, key) for key in keys).strip())]
        found.append(Result(f"Slurm: {name}", len(each), len(each) - len(wrong), len(wrong), "; ".join(wrong)))
    return found, hit


# ---- what is injected


def _submitted(bench: Bench, trials: Sequence[str]) -> tuple[str, list[list[str]]]:
    """Submit all trials; the array's id, and the run keys of each task."""
    bench.repro("run", "-m", "hydra/launcher=slurm", *(f"hydra.launcher.{word}" for word in JOBS), *trials)
    [array] = bench.arrays()
    return str(array.job), keys(array)


def _resumed(bench: Bench, lost: Sequence[str]) -> tuple[str, list[list[str]]]:
    """`repro sweep --resume`, which must submit what was lost and nothing else; the new array.

    Raises:
        AssertionError: it submitted something else.
    """
    bench.repro("sweep", "--resume")
    again = bench.arrays()[-1]
    if sorted(trial.key for trial in again.trials()) != sorted(lost):
        raise AssertionError(f"--resume submitted {keys(again)}, lost were {lost}")
    return str(again.job), keys(again)


def keys(array: JobArray) -> list[list[str]]:
    """The run keys of each task."""
    return [[trial.key for trial in task] for task in array.tasks]


def _held(bench: Bench, keys: Sequence[str]) -> list[int]:
    """Stop the processes of trials as soon as each trains, so that they are there when their turn comes; their ids."""
    processes: dict[str, int] = {}

    def watch() -> bool:
        for key in keys:
            if key not in processes and bench.training(key):
                processes[key] = bench.process(key)
                os.kill(processes[key], signal.SIGSTOP)
        return len(processes) == len(keys)

    bench.wait_for(watch)
    return [processes[key] for key in keys]


def _quick(bench: Bench, trials: Sequence[str]) -> Hit:
    """Of three jobs one is cancelled; of the two that train, one is killed, and one gives way to an urgent job.

    Slurm wakes a stopped process up before it sends SIGTERM.
    """
    job, (preempted, killed, cancelled) = _submitted(bench, trials)
    bench.slurm("scancel", f"{job}_2")
    _, process = _held(bench, (preempted[0], killed[0]))
    os.kill(process, signal.SIGKILL)
    bench.slurm("sbatch", "--partition=urgent", "--ntasks=2", "--mem=100M", "--output=/dev/null", "--wrap=sleep 1")
    bench.wait_for(lambda: any(line["event"] == "requeued" for line in bench.attempts()))
    # The urgent job, which is in no array, must be over: else it takes the place of those of the resumed array too.
    bench.wait_for(lambda: not any(task == f"{job}_1" or task.endswith("_N/A") for task in bench.states()))
    _resumed(bench, killed + cancelled)
    bench.wait_for(lambda: not bench.states())
    return {"job killed": [killed], "preempted": [preempted], "cancelled": [cancelled]}


def _everything(bench: Bench, trials: Sequence[str]) -> Hit:
    """Submit, disturb, resume, disturb, wait."""
    job, (timed, killed, *cancelled) = _submitted(bench, trials)
    bench.slurm("scancel", f"{job}_2", f"{job}_3")
    held, process = _held(bench, (timed[0], killed[0]))
    bench.limit(f"{job}_0", bench.minutes(f"{job}_0") + 1)
    os.kill(process, signal.SIGKILL)
    bench.wait_for(lambda: set(bench.states()) == {f"{job}_0"})
    again, (_, preempted, failed) = _resumed(bench, killed + cancelled[0] + cancelled[1])
    _at_their_moments(bench, (f"{job}_0", held), (f"{again}_1", preempted[0]), failed[0])
    bench.wait_for(lambda: not bench.states())
    hit = {"job killed": [killed], "time limit": [timed], "SIGTERM": [preempted]}
    return hit | {"node failure": [failed], "half cancelled": cancelled}


def _pending(process: int, number: signal.Signals) -> bool:
    """Whether a stopped process has a signal waiting."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:  # it has ended
        return False
    masks = re.findall(r"^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)", status, re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def _at_their_moments(bench: Bench, timed: tuple[str, int], preempted: tuple[str, str], failed: str) -> None:
    """The faults that wait until a trial trains, whichever comes first; the node fails last, since that hits all jobs.

    Args:
        bench: ours.
        timed: the job that waits for its time limit, and its process.
        preempted: the job that is to be preempted, and its first trial.
        failed: the first trial of the job whose node is to fail.
    """
    done: set[str] = set()

    def watch() -> bool:
        if "timed" not in done and _pending(timed[1], signal.SIGUSR2):  # 22.05 wakes it up itself, by a SIGCONT
            with contextlib.suppress(ProcessLookupError):
                os.kill(timed[1], signal.SIGCONT)
        back = any(line["event"] == "requeued" and line["job"] == timed[0] for line in bench.attempts())
        if back and "timed" not in done:
            bench.limit(timed[0], 30)  # on a busy machine loading alone may take a minute
            done.add("timed")
        if "preempted" not in done and bench.training(preempted[1]):
            bench.slurm("scancel", "--signal=TERM", preempted[0])
            done.add("preempted")
        if "held" not in done and bench.training(failed):
            os.kill(bench.process(failed), signal.SIGSTOP)
            done.add("held")
        return len(done) == 3

    bench.wait_for(watch)
    node = bench.slurm("sinfo", "--noheader", "--format=%n").split()[0]
    bench.slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    bench.wait_for(lambda: not {"RUNNING", "COMPLETING"} & set(bench.states().values()))
    bench.wait_for(lambda: not bench.steps())  # else Slurm finds the jobs running twice, and drains the node

    def back() -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):  # not while it still ends its jobs
            bench.slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
        return "down" not in bench.slurm("sinfo", "--noheader", "--format=%T")

    bench.wait_for(back)


@dataclass(frozen=True)
class Faults:
    """Trials, and what happens to them."""

    inject: Callable[[Bench, Sequence[str]], Hit]
    trials: tuple[str, ...]
    """The words of a multirun; its jobs have two trials each."""


EVERYTHING = Faults(_everything, (*TRIAL, "trainer.steps=240", "seed=1,2,3,4,5,6,7,8"))
QUICK = Faults(_quick, (*TRIAL, "trainer.steps=120", "seed=1,2,3,4,5,6"))
"""What needs no minutes: no time limit, no node failure."""


# ---- what became of it


def results(folder: Path, key: str) -> Any:
    """What must not depend on where and how often a trial was interrupted: the record but for its circumstances, and
    the prompt's tensors. None if it has no record."""
    from safetensors.numpy import load_file

    file = folder / "results" / "records" / key / "record.json"
    if not file.is_file():
        return None
    record = json.loads(file.read_text())
    counts = {name: record["cost"][name] for name in COUNTS}
    prompt = load_file(folder / "runs" / key / "prompt.safetensors")
    tensors = {name: tensor.astype(float).tolist() for name, tensor in prompt.items()}
    return {name: record[name] for name in RESULTS} | counts | {"prompt": tensors}


def close(left: Any, right: Any) -> bool:
    """Equal, numbers to `TOLERANCE`."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(close(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(close, left, right))
    return bool(left == right)


def _difference(bench: Bench, key: str) -> str:
    """What of a trial is not as it is without a cluster; empty: nothing."""
    there, here = (results(bench.folder / where, key) for where in ("cluster", "local"))
    if there is None or here is None:
        return f"trial {key} has no record"
    wrong = [name for name in here if not close(there[name], here[name])]
    return f"trial {key}: {', '.join(wrong)}" if wrong else ""
