"""Signals at random moments, SIGKILL at random changes of files, damaged checkpoints: the same command goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from repro.store.checkpoints import BEFORE, NEWEST, NEXT
from scripts.faults.result import Result
from scripts.faults.trials import TRIALS, Place, arguments, difference, outcome, write_data

NEWEST_FIRST = (NEXT, NEWEST, BEFORE)


def at_random_changes(place: Place, kills: int, trials: tuple[str, ...] = tuple(TRIALS)) -> list[Result]:
    """Each trial is killed `kills` times at a change of a file drawn from all that it makes: while it writes a
    checkpoint, the best tensors, predictions, the prompt, the record, while it takes or gives back its lock."""
    found = []
    for trial in trials:
        draw = random.Random(f"{place.seed} changes {trial}")
        expected, changes = place.undisturbed(trial)
        injected, lost, note = 0, 0, ""
        while injected < kills:
            folder = place.fresh(f"killed at a change {trial}")
            while True:  # one trial: killed until it gets through, or until there were enough
                at = draw.randint(1, changes)
                how = {"kill_at": at} if injected < kills else {}
                ended = place.stem.run(arguments(trial, place.data), folder, **how)
                if ended.code != -signal.SIGKILL:
                    break
                injected += 1
            said = difference(expected, outcome(folder)) if ended.code == 0 else ended.out[-300:]
            if said:
                lost, note = lost + 1, said
        found.append(Result(f"SIGKILL at a random change of a file, {trial}", injected, injected - lost, lost, note))
    return found


def at_random_moments(place: Place, kills: int, trials: tuple[str, ...] = tuple(TRIALS)) -> list[Result]:
    """Each trial's process group is killed `kills` times after a random part of the time that a run takes."""
    found = []
    for trial in trials:
        draw = random.Random(f"{place.seed} moments {trial}")
        expected, _ = place.undisturbed(trial)
        injected, lost, note, whole = 0, 0, "", 2.0
        while injected < kills:
            folder = place.fresh(f"killed at a moment {trial}")
            while True:
                began = time.monotonic()
                pid = place.stem.start(arguments(trial, place.data), folder)
                if injected < kills:
                    time.sleep(draw.uniform(0, whole))
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                ended = place.stem.end(pid)
                if ended.code != -signal.SIGKILL:
                    whole = max(whole, time.monotonic() - began)
                    break
                injected += 1
            said = difference(expected, outcome(folder)) if ended.code == 0 else ended.out[-300:]
            if said:
                lost, note = lost + 1, said
        found.append(Result(f"SIGKILL at a random moment, {trial}", injected, injected - lost, lost, note))
    return found


def _flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _cut(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def _remove(path: Path, draw: random.Random) -> None:
    path.unlink()


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "with a flipped bit": _flip,
    "cut off": _cut,
    "with a missing file": _remove,
}


def _files_to_damage(newest: Path, before: Path, removed: bool) -> list[str]:
    """Files of the newest state without which it is no state: itself, its tensors, its best ones.

    Not the best ones that the state before has too: it would be damaged as well. And a state that was killed while it
    took its name is not missed where it is removed: then the one before is the newest.
    """
    states = [json.loads(path.read_text()) for path in (newest, before)]
    best = [state["best"]["name"] if state["best"] else None for state in states]
    files = [] if removed and newest.name == NEXT else [newest.name]
    return [*files, states[0]["tensors"], *([best[0]] if best[0] and best[0] != best[1] else [])]


def damaged_checkpoints(place: Place, times: int, trial: str = next(iter(TRIALS))) -> list[Result]:
    """A killed trial's newest checkpoint is damaged: its tensors, its best tensors or its state. It goes on from the
    one before, says so in the record, and ends the same."""
    expected, changes = place.undisturbed(trial)
    found = []
    for name, damage in DAMAGES.items():
        draw = random.Random(f"{place.seed} {name}")
        injected, lost, note = 0, 0, ""
        while injected < times:
            folder = place.fresh("damaged checkpoint")
            kill_at = draw.randint(changes // 3, changes * 4 // 5)
            ended = place.stem.run(arguments(trial, place.data), folder, kill_at=kill_at)
            checkpoint = next(iter(folder.glob("runs/*/checkpoint")), folder)
            states = [checkpoint / name for name in NEWEST_FIRST if (checkpoint / name).is_file()][:2]
            if ended.code != -signal.SIGKILL or len(states) < 2:
                continue
            hit = checkpoint / draw.choice(_files_to_damage(states[0], states[1], damage is _remove))
            damage(hit, draw)
            injected += 1
            again = place.stem.run(arguments(trial, place.data), folder)
            said = difference(expected, outcome(folder)) if again.code == 0 else again.out[-300:]
            if not said and "the newest checkpoint was damaged" not in again.out:
                said = f"{hit.name}: the damage was not noticed"
            if said:
                lost, note = lost + 1, said
        found.append(Result(f"newest checkpoint {name}", injected, injected - lost, lost, note))
    return found


SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def signals(place: Place, times: int, trial: str = next(iter(TRIALS))) -> Result:
    """A signal at a random moment, from the start on: exit code 130, no lock, and the same command goes on."""
    expected, _ = place.undisturbed(trial)
    draw = random.Random(f"{place.seed} signals")
    injected, lost, note, longest = 0, 0, "", 1.0
    while injected < times:
        folder, number = place.fresh("signal"), SIGNALS[injected % len(SIGNALS)]
        began = time.monotonic()
        pid = place.stem.start(arguments(trial, place.data), folder)
        time.sleep(draw.uniform(0.1, longest))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        ended = place.stem.end(pid)
        if ended.code == 0:  # it had ended before
            longest = (longest + time.monotonic() - began) / 2
            continue
        injected += 1
        said = "" if ended.code == 130 else f"exit code {ended.code}"
        said = said or ("a lock is left" if list(folder.rglob("lock")) else "")
        again = place.stem.run(arguments(trial, place.data), folder)
        said = said or (difference(expected, outcome(folder)) if again.code == 0 else again.out[-300:])
        if said:
            lost, note = lost + 1, f"{number.name}: {said}"
    return Result("SIGTERM, SIGHUP or Ctrl-C at a random moment", injected, injected - lost, lost, note)


def other_data(place: Place, times: int = 3, trial: str = next(iter(TRIALS))) -> Result:
    """The data change between a kill and the resumption: refused, unless rerun=true starts anew."""
    _, changes = place.undisturbed(trial)
    draw = random.Random(f"{place.seed} other data")
    injected, lost, note = 0, 0, ""
    while injected < times:
        folder = place.fresh("other data")
        write_data(folder / "data")
        words = arguments(trial, folder / "data")
        ended = place.stem.run(words, folder, kill_at=draw.randint(changes // 3, changes * 2 // 3))
        if ended.code != -signal.SIGKILL or not list(folder.glob("runs/*/checkpoint/*.json")):
            continue
        injected += 1
        rows = folder / "data" / "superglue" / "RTE" / "train.jsonl"
        rows.write_text(rows.read_text().replace("red", "yellow"))
        ended = place.stem.run(words, folder)
        said = "" if ended.code == 2 and "Traceback" not in ended.out else f"went on: {ended.out[-300:]}"
        anew = place.stem.run([*words, "rerun=true"], folder)
        said = said or ("" if anew.code == 0 else f"rerun=true: {anew.out[-300:]}")
        if said:
            lost, note = lost + 1, said
    return Result("data changed before a trial is resumed", injected, injected - lost, lost, note)
