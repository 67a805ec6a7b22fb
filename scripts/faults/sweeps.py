"""A whole command (`make repro-mini`) under SIGKILLs every few seconds, in a shell loop: the same report in the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from repro.report.pages.write import write_report
from repro.store.files import write_json_atomic
from repro.store.record import with_checksum
from repro.store.verifying import verify
from scripts.faults.result import Result
from scripts.faults.trials import Place, environment

SMALL = (
    "python -m repro -m method=p_tuning_v2,prompt_tuning model=tiny-bert task=rte seed=1,2,3 task.check_rows=false "
    "task.max_input_length=48 trainer.device=cpu trainer.epochs=null trainer.steps=120 trainer.evaluate_every=20 "
    "trainer.batch_size=4 trainer.backbone_dropout=0.1 trainer.checkpoint_seconds=1"
)
"""A sweep of six trials, for where no command is given."""


_MINI = 'python -m repro mini {} --results "$REPRO_RESULTS_ROOT" --runs "$REPRO_RUNS_ROOT"'

_MARK = "FAULTS_OF"
"""A variable in the environment of everything that a command starts, in whatever session."""


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
            ["sh", "-c", command],
            env=given | {_MARK: str(folder)},
            stdout=printed,
            stderr=printed,
            start_new_session=True,
            text=True,
        )


def started(folder: Path) -> list[int]:
    """The processes of a command: the shell, the program, its workers, and workers whose parent was killed."""
    mark, found = f"{_MARK}={folder}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            alive = path.with_name("stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            if alive and mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return sorted(found)


def _kill(folder: Path, draw: random.Random) -> bool:
    """Kill all processes of a command, or one of them (a worker, say). Whether there was one."""
    alive = started(folder)
    hit = alive if draw.random() < 0.5 else draw.sample(alive, min(1, len(alive)))
    for pid in hit:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(hit)


def _wait_for_orphans(folder: Path, seconds: float = 300.0) -> None:
    """What was left running of a killed command ends by itself: its parent, or its work, is gone."""
    end = time.monotonic() + seconds
    while started(folder) and time.monotonic() < end:
        time.sleep(0.1)


def _end(folder: Path) -> None:
    """Kill whatever still runs of a command."""
    for pid in started(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def under_kills(place: Place, command: str, called: str, most: int, every: tuple[float, float] = (2.0, 16.0)) -> Result:
    """Run a command undisturbed, then under random kills until it ends with 0, and compare both reports.

    What a kill leaves running (workers whose parent is dead) is left alone when the command starts again, as in a shell
    loop; later kills may hit it.

    Args:
        command: for the shell; writes below $REPRO_RESULTS_ROOT (RESULTS of the Makefile) and $REPRO_RUNS_ROOT.
        called: the command in a word or two.
        most: kills after which it is left alone.
        every: seconds between two kills, drawn from this range.
    """
    name = f"SIGKILL every {every[0]:g} to {every[1]:g} s: {called}"
    calm, wild = place.fresh(f"calm {called}"), place.fresh(f"wild {called}")
    if _start(command, calm, place).wait():
        return Result(name, 0, 0, 1, f"the undisturbed run failed: {(calm / 'printed').read_text()[-500:]}")
    draw, injected, restarts = random.Random(f"{place.seed} {command}"), 0, 0
    try:
        while True:  # the shell loop: until COMMAND; do :; done
            process = _start(command, wild, place)
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(draw.uniform(*every) if injected < most else None)
                if process.poll() is None:
                    injected += _kill(wild, draw)
            restarts += 1
            if process.returncode == 0 or restarts > 3 * most:
                break
        _wait_for_orphans(wild)
    finally:
        _end(wild)
    said = _differences(calm, wild)
    if process.returncode:
        said = f"exit code {process.returncode}: {(wild / 'printed').read_text()[-500:]}"
    lost = int(bool(said))
    return Result(name, injected, 0 if lost else injected, lost, said)


def miniature(place: Place, options: str, most: int, every: tuple[float, float] = (2.0, 16.0)) -> Result:
    """`make repro-mini` (`options` is --short: `make repro-mini-short`) under kills: of it and of its workers."""
    called = f"repro mini {options}".strip()
    return under_kills(place, _MINI.format(options), called, most, every)


def _training(folder: Path, since: float) -> int:
    """Trials that have made a step since then."""
    return sum(path.stat().st_mtime > since for path in folder.glob("runs/*/progress.json"))


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:  # it has just ended
        return str(pid)


ORPHAN_SECONDS = 4.0
"""Workers have 2 s to end; the rest is for this machine to notice."""


def orphans(place: Place, times: int = 3) -> Result:
    """`repro mini` alone is killed while its workers train: they end, and the trials go on when it starts again."""
    injected, lost, note = 0, 0, ""
    folder = place.fresh("orphans")
    try:
        for _ in range(times):
            began, end = time.time(), time.monotonic() + 120
            command = _start(_MINI.format("--short"), folder, place)
            while _training(folder, began) < 2 and time.monotonic() < end:
                time.sleep(0.1)
            parents = [pid for pid in started(folder) if "repro\0mini" in Path(f"/proc/{pid}/cmdline").read_text()]
            for pid in [command.pid, *parents]:
                os.kill(pid, signal.SIGKILL)
            command.wait()
            injected += 1
            _wait_for_orphans(folder, ORPHAN_SECONDS)
            if left := started(folder):
                lost, note = lost + 1, f"still there: {', '.join(map(_command, left))}"
            _end(folder)
    finally:
        _end(folder)
    return Result("repro mini killed, its workers end", injected, injected - lost, lost, note)


def _differences(calm: Path, wild: Path) -> str:
    """Files of the two reports that differ, and damage in the disturbed store; empty: none."""
    left, right = _report(calm), _report(wild)
    wrong = [name for name in sorted({**left, **right}) if left.get(name) != right.get(name)]
    runs = wild / "runs" / "results"  # where `make repro-mini` puts them
    runs = runs if runs.is_dir() else runs.parent
    wrong += [str(problem) for problem in verify(wild / "results", runs).problems]
    return ", ".join(wrong[:5]) if left else "there is no record"


def _report(folder: Path) -> dict[str, bytes]:
    """The records without their times, and their report: what else differs is a difference of results."""
    source, target = folder / "results" / "records", folder / "timeless"
    shutil.rmtree(target, ignore_errors=True)
    paths = sorted(source.glob("*/record.json"))
    for path in paths:
        write_json_atomic(target / "records" / path.parent.name / path.name, with_checksum(_timeless(path)))
    if not paths:
        return {}
    write_report(target / "records", target / "report", papers=False)
    return {str(path.relative_to(target)): path.read_bytes() for path in sorted(target.rglob("*")) if path.is_file()}


def _timeless(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    for name in record["cost"]:
        if name.endswith("seconds") or name == "peak_memory_bytes":
            record["cost"][name] = 0.0
    for name in ("started", "finished", "notes", "git"):
        record["provenance"].pop(name, None)
    return record
