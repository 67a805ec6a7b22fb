"""The store and its locks under load: many processes at once, writers that are killed, clocks that jump."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from repro.errors import StoreError
from repro.store.damage import read_json
from repro.store.files import write_atomic, write_json_atomic
from repro.store.lock import Lock, Owner
from repro.store.record import Record
from repro.store.store import Store
from repro.store.verifying import verify
from scripts.faults import stem
from scripts.faults.result import Result
from scripts.faults.trials import TRIALS, Place

PROCESSES = 64
_SHARED = 8


def forked(work: Callable[[], None], seed: int = 0) -> int:
    """A process of ours that does something and ends with 0, or 1 after an error."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        random.seed(seed)
        work()
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(code)


def _record(key: str, writer: int, turn: int) -> Record:
    """A record all of whose numbers say who wrote it and when: half of one and half of another is seen at once."""
    number = float(writer * 100_000 + turn)
    rows = [[number, number]] * 400
    return Record(
        key, "done", {"writer": writer}, turn, statistics={"test": {"m": rows}}, metrics={"test": {"m": number}}
    )


def torn(record: Record) -> bool:
    """Whether a record is not all of one writer's."""
    number = float(record.config["writer"] * 100_000 + record.seed)
    rows = record.statistics["test"]["m"]
    return record.metrics["test"]["m"] != number or len(rows) != 400 or any(row != [number, number] for row in rows)


def _write_and_read(root: Path, writer: int, turns: int, seen: Path) -> None:
    """Put and read: keys of one's own, which nobody else writes, and keys that all write."""
    store = Store(root)
    for turn in range(turns):
        store.put(_record(f"own-{writer}", writer, turn))
        (seen / str(writer)).write_text(str(turn))  # said only after `put` came back
        store.put(_record(f"shared-{random.randrange(_SHARED)}", writer, turn))
        own = store.get(f"own-{writer}")
        assert own is not None and own.seed == turn and not torn(own), "another record than was put"
        other = store.get(f"shared-{random.randrange(_SHARED)}")
        assert other is None or not torn(other), "a torn record"
        if turn % 4 == writer % 4:
            for found in store.records():
                assert not torn(found), "a torn record"


def storm(place: Place, processes: int = PROCESSES, turns: int = 8, kills: int = 0) -> Result:
    """Processes that put and read at once on one folder; some are killed on the way, where `kills` says so."""
    folder = place.fresh(f"storm {kills}")
    root, seen = folder / "records", folder / "seen"
    seen.mkdir()
    draw = random.Random(f"{place.seed} storm {kills}")
    pids = {
        forked(lambda w=w: _write_and_read(root, w, turns, seen), seed=place.seed * 1000 + w): w  # type: ignore[misc]
        for w in range(processes)
    }
    doomed = draw.sample(sorted(pids), kills)
    for pid in doomed:
        time.sleep(draw.uniform(0, 0.05))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    killed, failed = 0, 0
    for pid in pids:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        killed += code == -signal.SIGKILL
        failed += code not in (0, -signal.SIGKILL)
    lost, note = failed, f"{failed} processes saw an error" if failed else ""
    damage: list[StoreError] = []
    found = {record.key: record for record in Store(root).records(on_damage=damage.append)}
    wrong = [key for key, record in found.items() if torn(record)]
    for writer in range(processes):
        said = int(text) if (seen / str(writer)).is_file() and (text := (seen / str(writer)).read_text()) else -1
        stored = found.get(f"own-{writer}")
        if said > (stored.seed if stored else -1):
            wrong.append(f"own-{writer}")
    if damage or wrong:
        lost, note = lost + len(damage) + len(wrong), f"{note} {[str(one) for one in damage]} {wrong}".strip()
    name = f"{processes} processes put and read at once"
    injected = killed if kills else processes * turns * 2
    what = f"writer killed among {name.replace('put', 'that put', 1)}" if kills else f"record put while {name}"
    return Result(what, injected, injected - lost, lost, note)


def _count(folder: Path, turns: int) -> None:
    """Add to a counter, in the lock; each addition is said in a log of one's own only after it was made."""
    lock = Lock(folder / "lock")
    for _ in range(turns):
        lock.acquire(poll_seconds=0.01)
        with lock:
            number = int((folder / "counter").read_text())
            time.sleep(0.002)
            write_atomic(folder / "counter", str(number + 1))
            with open(folder / f"done-{os.getpid()}", "ab", buffering=0) as stream:
                stream.write(b"x")


def _holder(folder: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError, StoreError):
        return int(read_json(folder / "lock")["pid"])
    return None


def killed_holders(place: Place, processes: int = 16, turns: int = 12, kills: int = 8) -> Result:
    """A counter behind a lock whose holders are killed: no addition is lost, and nobody waits for the dead."""
    folder = place.fresh("killed holders")
    (folder / "counter").write_text("0")
    draw = random.Random(f"{place.seed} holders")
    often = [10**6] * kills + [turns] * (processes - kills)  # those to be killed go on until they are
    pids = [forked(lambda number=number: _count(folder, number)) for number in often]  # type: ignore[misc]
    doomed, held, deadline = set(pids[:kills]), 0, time.monotonic() + 120
    while doomed and time.monotonic() < deadline:  # not at any moment: at one in which it holds the lock
        pid = _holder(folder)
        if pid in doomed:
            time.sleep(draw.uniform(0, 0.004))
            os.kill(pid, signal.SIGSTOP)
            if _holder(folder) == pid:
                os.kill(pid, signal.SIGKILL)
                doomed.discard(pid)
                held += 1
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.0005)
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    last = Lock(folder / "lock")  # the others may have ended before the last holder was killed: its lock is ours
    last.acquire(poll_seconds=0.01)
    last.release()
    said = sum(path.stat().st_size for path in folder.glob("done-*"))
    number = int((folder / "counter").read_text())
    # A holder may be killed between adding and saying so: then the counter is ahead, never behind.
    lost = max(0, said - number) + max(0, number - said - kills) + sum(code not in (0, -9) for code in codes)
    lost += sorted(path.name for path in folder.iterdir() if path.name.startswith(("lock", ".lock"))) != []
    note = f"counter {number}, additions {said}, exit codes {sorted(set(codes))}" if lost else ""
    return Result(f"holder of a lock killed, {processes} processes waiting", held, held - lost, lost, note)


def dead_locks(place: Place, rounds: int = 20, processes: int = 8) -> Result:
    """Locks of dead processes, for which several living ones compete: exactly one gets each."""
    folder = place.fresh("dead locks")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owner = asdict(replace(Owner.here(), pid=dead.pid, process_start=1))
    lost = 0
    for turn in range(rounds):
        path = folder / f"lock-{turn}"
        path.write_text(json.dumps(owner | {"token": f"{turn:016x}"}))
        start = time.monotonic() + 0.02

        def compete(path: Path = path, start: float = start) -> None:
            while time.monotonic() < start:
                pass
            if not Lock(path).acquire(wait=False):
                os._exit(7)

        pids = [forked(compete) for _ in range(processes)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        # The winner ends without giving its lock back, so a later one may take that over: at least one, never an error.
        lost += codes.count(0) < 1 or any(code not in (0, 7) for code in codes)
    return Result(f"stale lock, {processes} processes want it", rounds, rounds - lost, lost)


def clock_jumps(place: Place, times: int = 10) -> Result:
    """The file server's clock jumps: locks and temporary files of other machines, from the future and from the past."""
    folder = place.fresh("clock jumps")
    lost, note = 0, ""
    elsewhere = asdict(replace(Owner.here(), host="far", process_table="far"))
    for turn in range(times):
        for name, seconds in (("future", 1e7), ("past", -1e7)):
            root = folder / f"{turn}-{name}"
            lock = root / "lock"
            store = Store(root / "records")
            store.put(_record("a", 1, 1))
            left = store.path("a").with_name(".record.json.5-00000000-0123456789ab.tmp")
            for path, text in ((lock, json.dumps(elsewhere)), (left, "{")):
                path.write_text(text)
                os.utime(path, (time.time() + seconds,) * 2)
            # The holder is dead: whoever waits gets its lock, whatever its time says.
            ours = Lock(lock, stale_seconds=0.2)
            ours.acquire(poll_seconds=0.02)
            ours.release()
            # The holder lives and its next heartbeat comes: it keeps its lock.
            lock.write_text(json.dumps(elsewhere))
            os.utime(lock, (time.time() - 1e7,) * 2)
            living = forked(lambda lock=lock: _beat(lock, 0.8))  # type: ignore[misc]
            if Lock(lock, stale_seconds=2.0).acquire(wait=False):
                lost, note = lost + 1, "a living holder lost its lock"
            os.kill(living, signal.SIGKILL)
            os.waitpid(living, 0)
            store.put(_record("a", 1, 2))
            found = store.get("a")
            if found is None or found.seed != 2 or torn(found):
                lost, note = lost + 1, "a record was lost"
    return Result("clock of the file server jumps", 2 * times, 2 * times - lost, lost, note)


def _beat(lock: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.3)
        os.utime(lock)


def half_written(place: Place, times: int = 40) -> Result:
    """A writer that dies at each of its changes of the folder, one after the other: the old record or the new one."""
    folder = place.fresh("half written")
    store, lost, injected = Store(folder / "records"), 0, 0
    for moment in range(1, times + 1):
        store.put(_record("a", 1, 1))

        def write(moment: int = moment) -> None:
            stem.counted(moment)
            store.put(_record("a", 2, 2))

        code = os.waitstatus_to_exitcode(os.waitpid(forked(write), 0)[1])
        if code == 0:
            break
        injected += 1
        found = store.get("a")
        lost += found is None or torn(found)
        store.put(_record("a", 3, 3))
        lost += [path.name for path in store.path("a").parent.iterdir()] != ["record.json"]
    return Result("writer killed at each change of a file in turn", injected, injected - lost, lost)


def damaged_records(place: Place) -> Result:
    """Records that a disk or a hand damaged: `repro store verify` names each, and the others are read."""
    folder = place.fresh("damaged records")
    place.undisturbed(next(iter(TRIALS)))
    source = next((place.root / "undisturbed").glob("*/results/records/*/record.json"))
    data: dict[str, Any] = read_json(source)
    path = folder / "results" / "records" / source.parent.name / "record.json"
    text, draw = source.read_text(), random.Random(place.seed)
    lost, injected = 0, 0
    for turn in range(60):
        position = draw.randrange(len(text))
        changed = text[:position] + draw.choice(["", "7", "x", '"', "\n\n{"]) + text[position + 1 :]
        if turn % 3 == 0:
            changed = text[:position]
        write_atomic(path, changed)
        with contextlib.suppress(ValueError):
            if json.loads(changed) == data:
                continue  # a blank became another blank
        injected += 1
        lost += not verify(folder / "results", folder / "runs").problems
    write_json_atomic(path, data)
    lost += bool(verify(folder / "results", folder / "runs").problems)
    return Result("record damaged, found by repro store verify", injected, injected - lost, lost)
