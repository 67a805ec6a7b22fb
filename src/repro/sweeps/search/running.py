"""Runs a search: propose, launch what has no record, look at the records, and so on until the budget is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.config.run_key import run_key
from repro.errors import ConfigError
from repro.store.searches.journal import Search, Setting
from repro.store.searches.outcomes import Tried, check_split
from repro.store.store import Store
from repro.sweeps.search.proposals import propose
from repro.sweeps.search.space import Dimension

EMPTY_HANDED = 3
"""Settings in a row that leave no record: then something else is wrong than the settings."""

Launch = Callable[[list[list[str]]], None]
"""Runs or submits trials, given as overrides."""
Compose = Callable[[list[str]], Mapping[str, Any]]
"""Overrides to a validated config.

Raises ConfigError where the setting cannot run."""


class Run:
    """One call of a search.

    Args:
        search: as `journal.begun` gave it; its file is written as it grows.
        space: its dimensions.
        fixed: overrides of every trial, those of this machine among them.
        results: the folder with `records` and `searches`.
        compose: see `Compose`.
        launch: see `Launch`.
        batch: settings that are proposed at a time, and may run at once.
        waits: whether `launch` comes back only when its trials have ended.
    """

    def __init__(
        self,
        search: Search,
        space: Sequence[Dimension],
        fixed: Sequence[str],
        results: Path,
        compose: Compose,
        launch: Launch,
        batch: int = 1,
        waits: bool = True,
    ):
        self.search, self._space, self._fixed, self._results = search, list(space), list(fixed), results
        self.store = Store(results / "records")
        self._compose, self._launch, self._batch, self._waits = compose, launch, batch, waits
        self._launched: set[int] = set()

    def run(self) -> bool:
        """Until the budget is spent or the space is; False where trials are left that run elsewhere.

        Raises:
            ConfigError: a config that cannot be searched, or trials that leave no records.
        """
        while True:
            missing = self._missing()
            if missing:
                self._launch([words for one in missing for words in self._words_to_run(one)])
                self._launched |= {one.number for one in missing}
                if not self._waits:
                    return False
                self._tell(missing)
                self._check_records()
            elif len(self.search.settings) >= self.search.budget or not self._extend():
                self.search.write(self._results)
                return True

    def _missing(self) -> list[Setting]:
        """Settings of which a trial has no record, and that were not launched in this call."""
        tried = self.search.outcomes(self.store)
        return [
            one
            for one, found in zip(self.search.settings, tried, strict=True)
            if found.outcome.status == "open" and one.number not in self._launched
        ]

    def _words_to_run(self, one: Setting) -> list[list[str]]:
        return [
            words
            for key, words in zip(one.keys, self._words(one), strict=True)
            if self.store.get(key, statistics=False) is None
        ]

    def _words(self, one: Setting) -> list[list[str]]:
        """The overrides of a setting's trials."""
        words = [*self._fixed, *(f"{name}={value}" for name, value in one.values.items())]
        return [[*words, f"seed={seed}"] for seed in self.search.seeds] if self.search.seeds else [words]

    def _extend(self) -> bool:
        """Propose up to the end of a batch; False where nothing new is left.

        A batch is told from its numbers, and what is open in it counts as open even when its record is there: so the
        proposals do not depend on where an earlier call was interrupted.
        """
        before = len(self.search.settings)
        start = before - before % self._batch
        tried: list[Tried] = self.search.outcomes(self.store, before=start)
        for number in range(before, min(start + self._batch, self.search.budget)):
            values = propose(self._space, tried, self.search.sampler, number, self.search.direction)
            if values is None:
                print(f"search {self.search.id}: nothing new is left to try after {number} settings", flush=True)
                break
            self.search.settings.append(self._setting(Setting(number, values)))
            tried = self.search.outcomes(self.store, before=start)
        self.search.write(self._results)
        return len(self.search.settings) > before

    def _setting(self, one: Setting) -> Setting:
        """With its run keys, or the reason why it cannot run."""
        try:
            configs = [self._compose(words) for words in self._words(one)]
        except ConfigError as error:
            print(f"search {self.search.id} {one.number + 1}: refused: {error}", flush=True)
            one.refused = str(error)
            return one
        for config in configs:
            check_split(config["trainer"]["selection"]["split"])
        one.keys = [run_key(dict(config)) for config in configs]
        return one

    def _tell(self, settings: Sequence[Setting]) -> None:
        tried = self.search.outcomes(self.store)
        for one in settings:
            found = tried[one.number].outcome
            said = f"{found.value:.4g}" if found.value is not None else f"{found.status} {found.reason or ''}".strip()
            values = " ".join(f"{name}={value}" for name, value in one.values.items())
            about = f"{one.number + 1}/{self.search.budget}"
            print(f"search {self.search.id} {about}: {values}: validation {said}", flush=True)

    def _check_records(self) -> None:
        """Stop where nothing leaves a record: data or weights are missing, and every other setting would end so too.

        Raises:
            ConfigError: the errors are on the screen already.
        """
        tried = self.search.outcomes(self.store)
        last = [found.outcome.status for one, found in zip(self.search.settings, tried, strict=True)
                if one.number in self._launched][-EMPTY_HANDED:]  # fmt: skip
        if len(last) == EMPTY_HANDED and set(last) == {"open"}:
            raise ConfigError(
                f"search {self.search.id}: {EMPTY_HANDED} settings in a row left no record; the errors stand above. "
                "Mend them; the same command continues."
            )
