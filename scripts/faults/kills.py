"""SIGKILL at random moments and at random changes of files; damaged checkpoints. The same command goes on each time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from faults.result import Result
from faults.trials import TRIALS, Place, arguments, difference, outcome


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
            states = list(folder.glob("runs/*/checkpoint/state.json"))
            if ended.code != -signal.SIGKILL or not states or not states[0].with_name("state-before.json").is_file():
                continue
            state = json.loads(states[0].read_text())
            files = ["state.json", state["tensors"], *([state["best"]["name"]] if state["best"] else [])]
            before = json.loads(states[0].with_name("state-before.json").read_text())
            shared = before["best"] and state["best"] and before["best"]["name"] == state["best"]["name"]
            hit = draw.choice(files[:2] if shared else files)  # shared: the one before would be damaged too
            damage(states[0].with_name(hit), draw)
            injected += 1
            again = place.stem.run(arguments(trial, place.data), folder)
            said = difference(expected, outcome(folder)) if again.code == 0 else again.out[-300:]
            if not said and "the newest checkpoint was damaged" not in again.out:
                said = f"{hit}: the damage was not noticed"
            if said:
                lost, note = lost + 1, said
        found.append(Result(f"newest checkpoint {name}", injected, injected - lost, lost, note))
    return found
