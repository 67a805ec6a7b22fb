"""A whole command (`make repro-mini`) under SIGKILLs every few seconds, in a shell loop: the same report in the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from faults.result import Result
from faults.trials import Place, environment
from repro.report.files import write_report
from repro.store.files import write_json_atomic
from repro.store.record import with_checksum
from repro.store.verifying import verify

SMALL = (
    "python -m repro -m method=p_tuning_v2,prompt_tuning model=tiny-bert task=rte seed=1,2,3 task.check_rows=false "
    "task.max_input_length=48 trainer.device=cpu trainer.epochs=null trainer.steps=120 trainer.evaluate_every=20 "
    "trainer.batch_size=4 trainer.backbone_dropout=0.1 trainer.checkpoint_seconds=1"
)
"""A sweep of six trials, for where no command is given."""


def _start(command: str, folder: Path, place: Place) -> subprocess.Popen[str]:
    """The command in a session of its own, by the shell, with results and runs in the folder."""
    given = environment(
        REPRO_RESULTS_ROOT=str(folder / "results"),
        REPRO_RUNS_ROOT=str(folder / "runs"),
        REPRO_DATA_ROOT=os.environ.get("FAULTS_DATA_ROOT") or str(place.data),
        RESULTS=str(folder / "results"),
    )
    with (folder / "printed").open("a") as printed:
        return subprocess.Popen(
            ["sh", "-c", command], env=given, stdout=printed, stderr=printed, start_new_session=True, text=True
        )


def members(session: int) -> list[int]:
    """The processes of a session: the shell, the command, its workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(path.parent.name))
    return found


def _kill(session: int, draw: random.Random) -> bool:
    """Kill all processes of a session, or one of them (a worker, say). Whether there was one."""
    alive = members(session)
    hit = alive if draw.random() < 0.5 else draw.sample(alive, min(1, len(alive)))
    for pid in hit:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(hit)


def _end(session: int) -> None:
    """What a killed parent leaves behind of a session goes too, before the command is started again."""
    for pid in members(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def under_kills(place: Place, command: str = SMALL, every: tuple[float, float] = (2.0, 16.0), most: int = 30) -> Result:
    """Run a command undisturbed, then under random kills until it ends with 0, and compare both reports.

    Args:
        command: for the shell; writes below $REPRO_RESULTS_ROOT (RESULTS of the Makefile) and $REPRO_RUNS_ROOT.
        every: seconds between two kills, drawn from this range.
        most: kills after which it is left alone.
    """
    name = f"SIGKILL every {every[0]:g} to {every[1]:g} s: {command if len(command) < 30 else 'a sweep of six trials'}"
    calm, wild = place.fresh("calm sweep"), place.fresh("wild sweep")
    first = _start(command, calm, place)
    if first.wait():
        return Result(name, 0, 0, 1, f"the undisturbed run failed: {(calm / 'printed').read_text()[-500:]}")
    draw, injected, restarts = random.Random(f"{place.seed} {command}"), 0, 0
    while True:  # the shell loop: until COMMAND; do :; done
        process = _start(command, wild, place)
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(*every) if injected < most else None)
            if process.poll() is None:
                injected += _kill(process.pid, draw)
        _end(process.pid)
        restarts += 1
        if process.returncode == 0:
            break
        if process.returncode not in (-signal.SIGKILL, 1, 2, 137) or restarts > 3 * most:
            break
    said = _differences(calm, wild)
    if process.returncode:
        said = f"exit code {process.returncode}: {(wild / 'printed').read_text()[-500:]}"
    lost = int(bool(said))
    return Result(name, injected, 0 if lost else injected, lost, said)


def _differences(calm: Path, wild: Path) -> str:
    """Files of the two reports that differ, and damage in the disturbed store; empty: none."""
    left, right = _report(calm), _report(wild)
    wrong = [name for name in sorted({**left, **right}) if left.get(name) != right.get(name)]
    wrong += [str(problem) for problem in verify(wild / "results", wild / "runs").problems]
    return ", ".join(wrong[:5]) if left else "there is no record"


def _report(folder: Path) -> dict[str, bytes]:
    """The report of records whose times are taken out: what else differs is a difference of results."""
    source, target = folder / "results" / "records", folder / "timeless"
    shutil.rmtree(target, ignore_errors=True)
    paths = sorted(source.glob("*/record.json"))
    for path in paths:
        write_json_atomic(target / "records" / path.parent.name / path.name, with_checksum(_timeless(path)))
    if not paths:
        return {}
    write_report(target / "records", target / "report")
    return {str(path.relative_to(target)): path.read_bytes() for path in sorted(target.rglob("*")) if path.is_file()}


def _timeless(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    for name in record["cost"]:
        if name.endswith("seconds") or name == "peak_memory_bytes":
            record["cost"][name] = 0.0
    for name in ("started", "finished", "notes"):
        record["provenance"].pop(name, None)
    return record
