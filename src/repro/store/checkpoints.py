"""The states that a killed trial can continue from: which files belong to each, and whether they are whole.

A checkpoint folder holds two states, each a JSON file that names its tensor files with their hashes and carries a hash
of its own text: `state.json`, and `state-before.json`, the one before, for when the newest turns out to be damaged. A
new state is written as `state-next.json`; then the names move on. A crash in between leaves two whole states as well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.errors import explained
from repro.store.damage import parsed
from repro.store.files import json_text, read_whole, sha256_file, write_atomic

NEXT, NEWEST, BEFORE = "state-next.json", "state.json", "state-before.json"
_ORDER = (NEXT, NEWEST, BEFORE)


@dataclass(frozen=True)
class State:
    """One whole state."""

    file: str
    """NEXT, NEWEST or BEFORE."""
    progress: dict[str, Any]
    tensors: str
    """Name of the file with the tensors to continue from."""
    best: str | None
    """Name of the file with the tensors of the best evaluation so far."""
    hashes: Mapping[str, str]
    """{name: SHA-256} of these files."""


class Damage(Exception):
    """Why a state cannot be used; its message goes into parentheses."""


def state_text(progress: Mapping[str, object], tensors: str, best: str | None, hashes: Mapping[str, str]) -> str:
    """The content of a state's file."""
    named = None if best is None else {"name": best, "sha256": hashes[best]}
    state = {"progress": dict(progress), "tensors": tensors, "sha256": hashes[tensors], "best": named}
    return json_text(state | {"digest": _digest(state)})


def _digest(state: Mapping[str, object]) -> str:
    return hashlib.sha256(json_text(dict(state)).encode()).hexdigest()


def newest(folder: Path) -> tuple[State | None, list[str]]:
    """The newest state of a checkpoint folder that is whole, and what is wrong with newer ones; no state: (None, []).

    Raises:
        OSError: the folder cannot be read.
    """
    wrong: list[str] = []
    there = [name for name in _ORDER if (folder / name).is_file()]
    missing = NEWEST if there and NEXT not in there else None  # while the names move on, the next is the newest
    for name in [name for name in _ORDER if name in there or name == missing]:
        try:
            return _whole(folder, name), wrong
        except Damage as damage:
            wrong.append(f"{name}: {damage}")
    return None, wrong


def put_state(folder: Path, text: str, present: State | None) -> None:
    """Make a text the newest state, and the present one the one before. Whole ones never give way to damaged ones.

    Args:
        present: the newest state that is whole; None: there is none.

    Raises:
        StoreError: the disk; the states are as they were.
    """
    if present is not None and present.file == NEXT:  # its writer was killed before the names moved on
        with explained(folder / NEWEST, "write"):
            os.replace(folder / NEXT, folder / NEWEST)
    write_atomic(folder / NEXT, text)
    with explained(folder / NEWEST, "write"):
        if present is not None and present.file != BEFORE:
            os.replace(folder / NEWEST, folder / BEFORE)
        os.replace(folder / NEXT, folder / NEWEST)


def named_files(folder: Path) -> set[str]:
    """The tensor files that a state names, as far as they can be read."""
    found: set[str] = set()
    for name in _ORDER:
        try:
            state = _parsed(name, (folder / name).read_bytes())
        except (Damage, OSError):
            continue
        found |= set(state.hashes)
    return found


def _whole(folder: Path, name: str) -> State:
    """The state in a file, all of whose files are as they were written.

    Raises:
        Damage: it is not.
    """
    try:
        state = _parsed(name, read_whole(folder / name))
        for file, expected in state.hashes.items():
            if sha256_file(folder / file) != expected:
                raise Damage(f"the checksum of {file} does not match")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise Damage(f"{Path(error.filename or name).name} is missing") from error
    return state


def _parsed(file: str, content: bytes) -> State:
    try:
        state = parsed(content)
        if state.pop("digest", None) != _digest(state):
            raise Damage("its checksum does not match")
        best = state.get("best")
        hashes = {state["tensors"]: state["sha256"]} | ({best["name"]: best["sha256"]} if best else {})
        if wrong := [name for name in hashes if Path(name).name != name]:
            raise Damage(f"it names {wrong[0]!r}")
        return State(file, dict(state["progress"]), state["tensors"], best["name"] if best else None, hashes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damage(f"it cannot be read ({type(error).__name__}: {error})") from error
