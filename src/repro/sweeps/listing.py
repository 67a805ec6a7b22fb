"""The trials of an experiment by key and name, cached: composing them takes a minute where there are thousands.

The cache's key is a hash of all that the list follows from: the files of `conf/`, the source of this package, the
folders of the environment and the command line. A file that is lost or unreadable is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repro.config import compose
from repro.errors import StoreError
from repro.store.damage import Damaged, read_as
from repro.store.files import write_atomic
from repro.sweeps import experiments
from repro.sweeps.composing import FOLDERS


@dataclass(frozen=True)
class Named:
    """A trial as it was asked for."""

    name: str
    """Method, model, task, seed; its key where nobody asked for it as a job."""
    words: tuple[str, ...] = ()
    """Overrides."""


def trials(experiment: str, given: Mapping[str, str], cache: Path) -> dict[str, Named]:
    """{run key: trial} of an experiment, without those that start from prompts which are not there.

    Args:
        given: overrides of the command line.
        cache: the folder of the cache.

    Raises:
        ConfigError: there is no such experiment, or a trial of it cannot run.
    """
    loaded = experiments.load(experiment)
    # Which trials start from a prompt that is there, and its hash, follow from files that change all the time.
    cacheable = not any("after" in grid for grid in loaded.grids) and "method.start_from" not in given
    path = cache / f"{_identity(experiment, given)}.json"
    if cacheable and (known := _read(path)) is not None:
        return known
    planned = loaded.planned(given)
    named = {trial.key: Named(trial.spec.name, trial.words) for trial in planned if trial.key is not None}
    if cacheable:
        rows = [[key, trial.name, *trial.words] for key, trial in named.items()]
        with contextlib.suppress(StoreError):  # a full disk, a folder of somebody else's
            write_atomic(path, json.dumps({"trials": rows}))
    return named


@dataclass(frozen=True)
class _File:
    trials: list[list[str]]
    """Key, name, overrides of each."""


def _read(path: Path) -> dict[str, Named] | None:
    try:
        return {key: Named(name, tuple(words)) for key, name, *words in read_as(_File, path).trials}
    except (FileNotFoundError, Damaged, ValueError):
        return None


def _identity(experiment: str, given: Mapping[str, str]) -> str:
    package = Path(__file__).resolve().parents[1]
    question = [experiment, dict(given), {name: os.environ.get(name) for name in FOLDERS}]
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode())
    for path in sorted(
        [*(path for root in compose.conf_dirs() for path in root.rglob("*.yaml")), *package.rglob("*.py")]
    ):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:24]
