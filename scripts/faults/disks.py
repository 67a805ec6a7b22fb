"""Disks that are full, folders that may only be read: a sentence, nothing torn, and the same command goes on later."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repro.store.verifying import verify
from scripts.faults.result import Result
from scripts.faults.trials import TRIALS, Place, arguments, difference, outcome

_SIZE = 1 << 20


class CannotInject(Exception):
    """This machine does not allow the fault."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own; goes away afterwards.

    Raises:
        CannotInject: nothing can be mounted here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise CannotInject(str(error)) from error
    if done.returncode:
        raise CannotInject(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(disk: Path, but: int) -> Path:
    """A file that takes all of the space but so many bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"x" * 4096)
    os.truncate(filler, max(0, filler.stat().st_size - but))
    return filler


def _again(place: Place, trial: str, folder: Path, expected: dict[str, Any]) -> str:
    """Run the same command once more; what is wrong then, empty: nothing."""
    done = place.stem.run(arguments(trial, place.data), folder)
    return difference(expected, outcome(folder)) if done.code == 0 else done.out[-300:]


def _refused(code: int, printed: str, words: str) -> str:
    """What is wrong with how a trial said that it cannot write; empty: nothing."""
    last = printed.strip().splitlines()[-1] if printed.strip() else ""
    if code != 2 or "Traceback" in printed or not last.startswith("repro: cannot ") or words not in last:
        return f"exit code {code}: {printed[-300:]}"
    return ""


def full_disk(place: Place, steps: int = 8, trial: str = next(iter(TRIALS))) -> Result:
    """A trial whose disk gets full at different moments: at its lock, at checkpoints, at predictions, at its record."""
    name = "disk full"
    expected, _ = place.undisturbed(trial)
    injected, lost, note = 0, 0, ""
    for step in range(steps):
        folder = place.fresh(f"full disk {step}")
        try:
            with small_disk(folder / "disk") as disk:
                filler = _fill(disk, but=step * 16384)
                done = place.stem.run(arguments(trial, place.data), disk, out=str(folder / "printed"))
                if done.code == 0:
                    break  # there was room for all of it
                injected += 1
                said = _refused(done.code, done.out, "the disk is full")
                said = said or " ".join(one.what for one in verify(disk / "results", disk / "runs").problems)
                filler.unlink()
                said = said or _again(place, trial, disk, expected)
        except CannotInject as error:
            return Result(name, 0, 0, 0, f"not injected: a small disk cannot be mounted here ({error})")
        if said:
            lost, note = lost + 1, said
    return Result(name, injected, injected - lost, lost, note)


def full_disk_under_the_log(place: Place, trial: str = next(iter(TRIALS))) -> Result:
    """What a trial prints goes to a disk that is full (a job's log file): the trial does not care."""
    name = "disk full under the log"
    expected, _ = place.undisturbed(trial)
    folder = place.fresh(name)
    try:
        with small_disk(folder / "disk") as disk:
            _fill(disk, but=0)
            done = place.stem.run(arguments(trial, place.data), folder, out=str(disk / "printed"))
    except CannotInject as error:
        return Result(name, 0, 0, 0, f"not injected: a small disk cannot be mounted here ({error})")
    said = difference(expected, outcome(folder)) or ("" if done.code == 0 else f"exit code {done.code}")
    return Result(name, 1, int(not said), int(bool(said)), said)


def quota(place: Place, steps: int = 3, trial: str = next(iter(TRIALS))) -> Result:
    """No file may grow beyond so many bytes (`ulimit -f`): as a full disk, where nothing can be mounted."""
    expected, _ = place.undisturbed(trial)
    lost, note = 0, ""
    for step in range(steps):
        folder = place.fresh("quota")
        done = place.stem.run(arguments(trial, place.data), folder, largest_file=1024 << step)
        said = _refused(done.code, done.out, "cannot write") or _again(place, trial, folder, expected)
        if said:
            lost, note = lost + 1, said
    return Result("file size limit (ulimit -f)", steps, steps - lost, lost, note)


def read_only(place: Place, trial: str = next(iter(TRIALS))) -> Result:
    """Results or runs that may only be read, by a process that permissions stop; then they may be written again."""
    name = "read-only folder"
    expected, _ = place.undisturbed(trial)
    injected, lost, note = 0, 0, ""
    for closed in ("runs", "results"):
        folder = place.fresh(f"read-only {closed}")
        for one in ("runs", "results"):
            (folder / one).mkdir()
            (folder / one).chmod(0o555 if one == closed else 0o755)
        done = place.stem.run(arguments(trial, place.data, "paths.cache_root=null"), folder, bound=True)
        injected += 1
        said = _refused(done.code, done.out, "permission denied")
        said = said or " ".join(one.what for one in verify(folder / "results", folder / "runs").problems)
        (folder / closed).chmod(0o755)
        done = place.stem.run(arguments(trial, place.data, "paths.cache_root=null"), folder, bound=True)
        said = said or (difference(expected, outcome(folder)) if done.code == 0 else done.out[-300:])
        if said:
            lost, note = lost + 1, f"{closed}: {said}"
    return Result(name, injected, injected - lost, lost, note)
