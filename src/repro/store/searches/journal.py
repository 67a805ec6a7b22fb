"""The file of a search: what was proposed, in which order, and the run keys. Scores are in the records alone.

`<results>/searches/<name>-<digest>.json`: plain JSON, written as a whole, kept with the records. The digest is of what
determines the proposals, so the same command finds its file again, and a larger budget continues it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from repro.config.conversion import from_plain
from repro.errors import ConfigError, redacted_command, redacted_text, redacted_values
from repro.methods.fields import setting
from repro.store.damage import Damaged, OnDamage, read_json
from repro.store.files import write_json_atomic
from repro.store.searches.outcomes import Outcome, Tried, Values, outcome
from repro.store.store import Store

FOLDER = "searches"
VERSION = 1
_NO_PART = (
    *("paths.", "paths=", "tracker", "rerun=", "task.data_dir=", "trainer.device=", "trainer.threads="),
    *("trainer.checkpoint_seconds=", "trainer.if_running=", "trainer.evaluation_batch_size="),
)
"""Fixed overrides that change no result: no part of a search, and of no interest beyond this machine."""


@dataclass(frozen=True)
class Sampler:
    """Which of optuna's samplers, and its seed."""

    name: str = setting("tpe", allowed=("tpe", "random"))
    seed: int = setting(0, at_least=0)
    startup: int = setting(10, at_least=1)
    """tpe: settings drawn at random before the first that is modelled."""


@dataclass
class Setting:
    """One proposal."""

    number: int
    values: Values
    keys: list[str] = field(default_factory=list)
    """Run keys, one a seed; empty where it was refused."""
    refused: str | None = None
    """Why it cannot run at all: it counts in the budget as failed."""


@dataclass
class Search:
    """Everything that is known of a search beside the records."""

    name: str
    experiment: str | None
    fixed: list[str]
    """Overrides that all trials share, without those that say where files lie and the like."""
    space: dict[str, str]
    """{override: its values as written}."""
    sampler: Sampler
    seeds: list[int]
    """Every setting is run with each; empty: with the config's own."""
    direction: str
    metric: str = ""
    """The value on the validation split that is sought."""
    budget: int = 0
    """Settings that were asked for in all."""
    settings: list[Setting] = field(default_factory=list)
    version: int = VERSION

    @property
    def id(self) -> str:
        """`<name>-<digest>`"""
        identity = [
            sorted(self.fixed),
            sorted(self.space.items()),
            sorted(asdict(self.sampler).items()),
            self.seeds,
            self.direction,
        ]
        public = redacted_values({"search": identity})["search"]  # as its file has it
        digest = hashlib.sha256(json.dumps(public).encode()).hexdigest()[:8]
        name = redacted_text(self.name).lower()
        return f"{re.sub(r'[^a-z0-9]+', '-', name).strip('-') or 'search'}-{digest}"

    def write(self, results: Path) -> Path:
        """Keep it beside the records.

        Raises:
            StoreError: the file cannot be written.
        """
        path = results / FOLDER / f"{self.id}.json"
        write_json_atomic(path, redacted_values(asdict(self)))
        return path

    def outcomes(self, store: Store, before: int | None = None) -> list[Tried]:
        """Every setting with what its records say now.

        Args:
            store: the records.
            before: settings with this number or a higher one count as open, whatever their records say.
        """
        found = []
        for one in self.settings:
            if before is not None and one.number >= before:
                found.append(Tried(one.values, Outcome("open")))
            elif one.refused is not None:
                found.append(Tried(one.values, Outcome("failed", reason=one.refused)))
            else:
                found.append(Tried(one.values, outcome([store.get(key, statistics=False) for key in one.keys])))
        return found


def read(path: Path) -> Search:
    """The search in a file.

    Raises:
        Damaged: it cannot be trusted or read, or is of a newer program.
    """
    data = read_json(path)
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > VERSION:
        what = f"has version {version}, this program reads up to {VERSION}"
        raise Damaged(path, what, "update repro (pip install --upgrade)")
    try:
        return from_plain(Search, data, {})
    except ConfigError as error:
        fix = "restore it (git checkout, if it is kept in git), or delete it: the same command makes it again"
        raise Damaged(path, f"is damaged ({error})", f"{fix}, from the records that are there") from error


def all_of(results: Path, on_damage: OnDamage | None = None) -> list[Search]:
    """Every search beside the records, by the names of their files.

    Args:
        on_damage: called with each damaged one, which is then left out; without it the first raises.

    Raises:
        Damaged: a damaged one.
    """
    searches = []
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            searches.append(read(path))
        except Damaged as error:
            if on_damage is None:
                raise
            on_damage(error)
    return searches


def begun(wanted: Search, results: Path) -> Search:
    """The search as its file has it, or as it is wanted where there is none.

    Raises:
        StoreError: its file is damaged.
    """
    path = results / FOLDER / f"{wanted.id}.json"
    if not path.is_file():
        return wanted
    found = read(path)
    found.budget = max(found.budget, wanted.budget)
    return found


def lasting(words: Sequence[str]) -> list[str]:
    """The overrides that are part of a search, without secrets: its file is kept with the records, and so is its name.

    A secret changes no result, so two searches that differ in one are the same search.
    """
    kept = [word for word in words if not word.lstrip("+").startswith(_NO_PART)]
    return redacted_command(["", *kept])[1:]  # the first would be taken for a program
