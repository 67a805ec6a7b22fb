"""A Slurm that only pretends: its commands note how they are called and print what a test tells them to."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

_COMMAND = """#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >> {folder}/calls
case "$(basename "$0")" in
sbatch)
    n=$(($(cat {folder}/jobs 2>/dev/null || echo 0) + 1))
    if [ -e {folder}/refuse ] && [ $n -ge $(cat {folder}/refuse) ]; then
        echo "sbatch: error: invalid partition specified: moon" >&2
        echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2
        exit 1
    fi
    echo $n > {folder}/jobs
    cp "$1" {folder}/script-$n.sh
    echo "Submitted batch job $n" ;;
squeue)
    [ -e {folder}/silent ] && {{ echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }}
    cat {folder}/queue 2>/dev/null || true ;;
scontrol)
    case "$*" in
    "show config") echo "MaxArraySize            = $(cat {folder}/largest 2>/dev/null || echo 1001)" ;;
    *"show job"*) cat {folder}/job 2>/dev/null || true ;;
    esac ;;
esac
"""


@dataclass
class Pretended:
    """The folder of the pretended Slurm."""

    folder: Path

    def set(self, name: str, text: str) -> None:
        """What a command reads: queue, largest, job, refuse, silent."""
        (self.folder / name).write_text(text)

    def queue(self, *tasks: tuple[str, int, str]) -> None:
        """(name of the array, number, state) of every task in the queue, all of job 7."""
        self.set("queue", "".join(f"{name}|{number}|7|{state}|Priority\n" for name, number, state in tasks))

    def calls(self, program: str) -> list[str]:
        """Arguments of every call of a program."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.is_file() else []
        return [line.partition(" ")[2] for line in lines if line.split(" ")[0] == program]

    def script(self, number: int) -> str:
        """The batch script of a job."""
        return (self.folder / f"script-{number}.sh").read_text()


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """Its commands come first on PATH; there is no site file but the test's own."""
    folder = tmp_path / "pretended"
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in ("sbatch", "squeue", "scontrol", "srun", "scancel"):
        path = programs / name
        path.write_text(_COMMAND.format(folder=folder))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return Pretended(folder)
