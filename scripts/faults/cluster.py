"""A Slurm of our own on this machine, a folder with trials that are submitted to it, and what can be asked of both."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from repro.sweeps.executors.slurm.arrays import JobArray, all_arrays
from scripts.faults.trials import environment, write_data

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "srun")


def unavailable() -> str | None:
    """Why there is no Slurm to be had here; None if there is."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"{', '.join(missing)}: not installed (apt-get install slurmctld slurmd slurm-client munge)"
    return None


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@contextlib.contextmanager
def cluster(folder: Path, slots: int = 2, **more: str) -> Iterator[dict[str, str]]:
    """A Slurm of our own; the environment in which its commands work."""
    own = {**os.environ, "PATH": _path(), "SLURM_SLOTS": str(slots), **more}
    start, stop = (str(ROOT / "scripts" / f"{what}_test_slurm.sh") for what in ("start", "stop"))
    started = subprocess.run([start, str(folder)], env=own, capture_output=True, text=True, timeout=120)
    try:
        if started.returncode != 0:
            raise RuntimeError(f"Slurm does not start: {started.stderr}")
        yield {"PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        subprocess.run([stop, str(folder)], env=own, timeout=120)


class Bench:
    """A folder with trials of ours, a Slurm, and the same trials without one.

    Args:
        folder: an empty folder.
        slurm: what `cluster` gave.
    """

    def __init__(self, folder: Path, slurm: dict[str, str]):
        self.folder, self.spool = folder, Path(slurm["SLURM_CONF"]).parent / "spool"
        path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {"PYTHONPATH": path, "XDG_CONFIG_HOME": str(folder / "config")}  # no site file of whoever runs this
        kept = {name: value for name, value in environment(**own).items() if not name.startswith(("SLURM_", "PYTEST_"))}
        self.environment = kept | slurm
        write_data(folder / "data")

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

    def arrays(self) -> list[JobArray]:
        """Every job array, oldest first."""
        return all_arrays(self.folder / "cluster" / "runs")

    def run_folder(self, key: str) -> Path:
        """Of a trial on the cluster."""
        return self.folder / "cluster" / "runs" / key

    def process(self, key: str) -> int:
        """The process that runs a trial, by its lock."""
        return int(json.loads((self.run_folder(key) / "lock").read_text())["pid"])

    def steps(self) -> list[Path]:
        """The sockets of Slurm's processes that watch over a job, those of jobs that are being ended included."""
        return list((self.spool).glob("*_[0-9]*.[0-9]*"))

    def attempts(self) -> list[dict[str, Any]]:
        """What jobs noted of themselves."""
        files = sorted(self.folder.glob("cluster/runs/slurm/*/*.attempts.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def wait_for(self, seen: Callable[[], object], seconds: float = 400.0) -> None:
        """Until `seen()`.

        Raises:
            TimeoutError: with what the jobs printed.
        """
        end = time.monotonic() + seconds
        while not seen():
            if time.monotonic() > end:
                logs = sorted(self.folder.glob("cluster/runs/slurm/*/*log.err"))
                printed = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)
                raise TimeoutError(f"waited {seconds:g} s; queue {self.states()}\n{printed}")
            time.sleep(0.02)

    def training(self, key: str) -> bool:
        """Whether a trial is between its first checkpoint and its end."""
        folder = self.run_folder(key)
        return (folder / "checkpoint" / "state.json").is_file() and (folder / "lock").is_file()
