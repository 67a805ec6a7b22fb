"""Faults on a real one-node Slurm, and what became of the trials: `slurm_faults() -> list[FaultResult]`.

Eight small trials are submitted as an array of four jobs, two at a time. One job gets a time limit of the next full
minute while it trains, and is held (SIGSTOP) until Slurm warns of it; one is killed, two are cancelled before they
start; what was lost is submitted again; of those jobs one is preempted, and one loses its node. Meanwhile the same
trials run here without a cluster. A job has recovered when the records and prompts of its trials are bit for bit those
of the undisturbed run, and is lost otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "srun")
SEEDS = range(1, 9)
TRIAL = (
    *("method=prompt_tuning", "method.length=4", "method.initialisation=sampled_vocabulary", "model=tiny-bert"),
    *("task=rte", "task.check_rows=false", "task.max_input_length=48", "trainer.epochs=null", "trainer.steps=240"),
    *("trainer.batch_size=4", "trainer.evaluate_every=80", "trainer.device=cpu", "trainer.threads=1"),
    *("trainer.checkpoint_seconds=0.2", "seed=" + ",".join(map(str, SEEDS))),
)
JOBS = ("gpus=0", "cpus=1", "mem=500M", "trials_per_job=2", "time=30", "signal_seconds=10")
RESULTS = (
    "key",
    "status",
    "reason",
    "metrics",
    "statistics",
    "curve",
    "selection",
    "parameters",
    "deviations",
    "config",
)
COUNTS = ("steps", "examples", "tokens", "padded_tokens", "flops")


@dataclass(frozen=True)
class FaultResult:
    """One kind of fault."""

    name: str
    injected: int
    """How many jobs it hit."""
    recovered: int
    """Jobs all of whose trials ended as if nothing had been."""
    lost: int
    """The other jobs."""


def unavailable() -> str | None:
    """Why there is no Slurm to be had here; None if there is."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"{', '.join(missing)}: not installed (apt-get install slurmctld slurmd slurm-client munge)"
    try:
        import submitit  # noqa: F401
    except ImportError:
        return "submitit is not installed"
    return None


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@contextlib.contextmanager
def cluster(folder: Path, slots: int = 2, **more: str) -> Iterator[dict[str, str]]:
    """A Slurm of our own; the environment in which its commands work."""
    environment = {**os.environ, "PATH": _path(), "SLURM_SLOTS": str(slots), **more}
    started = subprocess.run(
        [str(ROOT / "scripts" / "start_test_slurm.sh"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    try:
        if started.returncode != 0:
            raise RuntimeError(f"Slurm does not start: {started.stderr}")
        yield {"PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        subprocess.run([str(ROOT / "scripts" / "stop_test_slurm.sh"), str(folder)], env=environment, timeout=120)


def write_rte(data: Path) -> None:
    """A few made-up rows in RTE's format."""
    folder = data / "superglue" / "RTE"
    folder.mkdir(parents=True)
    labels = ("entailment", "not_entailment")
    for name, rows in (("train", 16), ("val", 8), ("test", 4)):
        lines = [
            {"premise": f"Ann {i} ran home.", "hypothesis": f"Lee {i * i} sat.", "idx": i}
            | ({} if name == "test" else {"label": labels[i % 2]})
            for i in range(rows)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


class Bench:
    """A folder with trials of ours, a Slurm, and the same trials without one.

    Args:
        folder: an empty folder.
        slurm: what `cluster` gave.
    """

    def __init__(self, folder: Path, slurm: dict[str, str]):
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("REPRO_", "HYDRA_", "SLURM_", "PYTEST_"))}
        own = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        own["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
        own["XDG_CONFIG_HOME"] = str(folder / "config")  # no site file of whoever runs this
        self.environment = kept | own | slurm
        write_rte(folder / "data")
        self.hit: dict[str, list[list[str]]] = {}
        """{fault: run keys of each job that it hit}, once they were injected."""

    def repro(self, *arguments: str, where: str = "cluster", check: bool = True) -> subprocess.CompletedProcess[str]:
        """`repro ARGUMENTS` with the results and runs of a folder of ours."""
        return subprocess.run(
            [sys.executable, "-m", "repro", *arguments],
            cwd=self.folder,
            env=self._places(where),
            capture_output=True,
            text=True,
            timeout=300,
            check=check,
        )

    def start(self, *arguments: str, where: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        log = (self.folder / f"{where}.log").open("w")
        return subprocess.Popen(
            [sys.executable, "-m", "repro", *arguments],
            cwd=self.folder,
            env=self._places(where),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _places(self, where: str) -> dict[str, str]:
        own = {f"REPRO_{name.upper()}_ROOT": str(self.folder / where / name) for name in ("results", "runs")}
        return self.environment | own | {"REPRO_DATA_ROOT": str(self.folder / "data")}

    def slurm(self, *command: str) -> str:
        """What a command of Slurm prints."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def minutes(self, job: str) -> int:
        """Full minutes that a job has run."""
        used = self.slurm("squeue", "--noheader", f"--job={job}", "--format=%M").strip()
        return sum(int(part) * 60**power for power, part in enumerate(used.split(":")[-2::-1]))

    def limit(self, job: str, minutes: int) -> None:
        """Give a job another time limit."""
        self.slurm("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")

    def states(self) -> dict[str, str]:
        """{task: state} of the queue."""
        lines = self.slurm("squeue", "--noheader", "--array", "--format=%F_%K %T").splitlines()
        return dict(line.split() for line in lines)

    def submissions(self) -> list[dict[str, Any]]:
        """Every submission, oldest first."""
        files = self.folder.glob("cluster/runs/slurm/*/submission.json")
        found = [json.loads(file.read_text()) | {"id": file.parent.name} for file in files]
        return sorted(found, key=lambda one: one["created"])

    def run_folder(self, key: str) -> Path:
        """Of a trial on the cluster."""
        return self.folder / "cluster" / "runs" / key

    def process(self, key: str) -> int:
        """The process that runs a trial, by its lock."""
        return int(json.loads((self.run_folder(key) / "lock").read_text())["pid"])

    def attempts(self) -> list[dict[str, Any]]:
        """What jobs noted of themselves."""
        files = sorted(self.folder.glob("cluster/runs/slurm/*/array-*/*.attempts.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def wait_for(self, seen: Callable[[], object], seconds: float = 400.0) -> None:
        """Until `seen()`.

        Raises:
            TimeoutError: with what the jobs printed.
        """
        end = time.monotonic() + seconds
        while not seen():
            if time.monotonic() > end:
                logs = sorted(self.folder.glob("cluster/runs/slurm/*/array-*/*log.err"))
                printed = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)
                raise TimeoutError(f"waited {seconds:g} s; queue {self.states()}\n{printed}")
            time.sleep(0.02)

    def training(self, key: str) -> bool:
        """Whether a trial is between its first checkpoint and its end."""
        folder = self.run_folder(key)
        return (folder / "checkpoint" / "state.json").is_file() and (folder / "lock").is_file()


def results(folder: Path, key: str) -> Any:
    """What must not depend on where and how often a trial was interrupted: the record but for its circumstances, and
    the prompt's bytes. None if it has no record."""
    file = folder / "results" / "records" / key / "record.json"
    if not file.is_file():
        return None
    record = json.loads(file.read_text())
    counts = {name: record["cost"][name] for name in COUNTS}
    prompt = (folder / "runs" / key / "prompt.safetensors").read_bytes()
    return {name: record[name] for name in RESULTS} | counts | {"prompt": prompt}


def _pending(process: int, number: signal.Signals) -> bool:
    """Whether a stopped process has a signal waiting."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:  # it has ended
        return False
    masks = re.findall(r"^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)", status, re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def inject(bench: Bench) -> dict[str, list[list[str]]]:
    """Submit, disturb, resume, wait; {fault: run keys of each job that it hit}."""
    launcher = [f"hydra.launcher.{word}" for word in JOBS]
    bench.repro("run", "-m", "hydra/launcher=slurm", *launcher, *TRIAL)
    [submission] = bench.submissions()
    [array] = submission["arrays"]
    timed, killed, *cancelled = array["tasks"]
    job = array["job"]
    bench.slurm("scancel", f"{job}_2", f"{job}_3")

    bench.wait_for(lambda: bench.training(timed[0]))
    held = bench.process(timed[0])
    os.kill(held, signal.SIGSTOP)
    bench.limit(f"{job}_0", bench.minutes(f"{job}_0") + 1)
    bench.wait_for(lambda: bench.training(killed[0]))
    os.kill(bench.process(killed[0]), signal.SIGKILL)
    bench.wait_for(lambda: set(bench.states()) == {f"{job}_0"})

    bench.repro("sweep", "--resume")
    [again] = bench.submissions()[-1]["arrays"]
    lost = sorted(killed + cancelled[0] + cancelled[1])
    if sorted(key for task in again["tasks"] for key in task) != lost:
        raise AssertionError(f"--resume submitted {again['tasks']}, lost were {lost}")
    _, preempted, failed = again["tasks"]
    _at_their_moments(bench, (f"{job}_0", held), (f"{again['job']}_1", preempted[0]), failed[0])
    bench.wait_for(lambda: not bench.states())
    hit = {"job killed": [killed], "time limit": [timed], "preempted": [preempted]}
    return hit | {"node failure": [failed], "half cancelled": cancelled}


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
    node = bench.slurm("sinfo", "--noheader", "--format=%n").strip()
    bench.slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    bench.wait_for(lambda: not {"RUNNING", "COMPLETING"} & set(bench.states().values()))
    bench.slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")


def slurm_faults(folder: Path | None = None) -> list[FaultResult]:
    """All faults, once; takes about two minutes on two cores.

    Args:
        folder: an empty folder to keep everything in; None: one that is removed.

    Raises:
        RuntimeError: there is no Slurm here (see `unavailable`).
    """
    if why := unavailable():
        raise RuntimeError(why)
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        slurm = stack.enter_context(cluster(folder / "state"))
        return measured(Bench(folder, slurm))


def measured(bench: Bench) -> list[FaultResult]:
    """The faults, and the trials against an undisturbed run."""
    undisturbed = bench.start("run", "-m", *TRIAL, where="local")
    bench.hit = inject(bench)
    if undisturbed.wait(300) != 0:
        raise RuntimeError((bench.folder / "local.log").read_text())
    found = []
    for name, jobs in bench.hit.items():
        whole = [all(recovered(bench, key) for key in keys) for keys in jobs]
        found.append(FaultResult(f"Slurm: {name}", len(jobs), sum(whole), len(whole) - sum(whole)))
    return found


def recovered(bench: Bench, key: str) -> bool:
    """Whether a trial ended on the cluster as it did without one."""
    there, here = (results(bench.folder / where, key) for where in ("cluster", "local"))
    return here is not None and there == here


def printed(found: Sequence[FaultResult]) -> str:
    """A table."""
    rows = [("fault", "injected", "recovered", "lost")]
    rows += [(one.name, str(one.injected), str(one.recovered), str(one.lost)) for one in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


if __name__ == "__main__":
    print(printed(slurm_faults(Path(sys.argv[1]) if len(sys.argv) > 1 else None)))
