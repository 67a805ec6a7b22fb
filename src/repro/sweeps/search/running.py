"""Runs a search: propose, run what has no record, look at the records, and so on until the budget is spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repro.errors import ConfigError
from repro.store.searches.journal import Search, Setting
from repro.store.searches.outcomes import Tried, check_split
from repro.store.store import Store
from repro.sweeps.executors.base import Executor
from repro.sweeps.search.proposals import propose
from repro.sweeps.search.space import Dimension
from repro.trials.spec import TrialSpec

MOST_WITHOUT_RECORD = 3
"""Settings in a row that leave no record: then something else is wrong than the settings."""

Compose = Callable[[list[str]], TrialSpec]
"""Overrides to a valid trial; raises ConfigError where the setting cannot run."""


@dataclass
class SearchRun:
    """One call of a search."""

    search: Search
    """As `journal.begun` gave it; its file is written as it grows."""
    space: Sequence[Dimension]
    fixed: Sequence[str]
    """Overrides of every trial, those of this machine among them."""
    results: Path
    """The folder with `records` and `searches`."""
    compose: Compose
    executor: Executor
    batch: int = 1
    """Settings that are proposed at a time, and may run at once."""
    _launched: set[int] = field(default_factory=set)

    @property
    def store(self) -> Store:
        """Where the records are."""
        return Store(self.results / "records")

    def run(self) -> bool:
        """Until the budget is spent or the space is; False where trials are left that run elsewhere.

        Raises:
            ConfigError: a config that cannot be searched, or trials that leave no records.
        """
        while True:
            missing = self._missing()
            if missing:
                self.executor.run([spec for setting in missing for spec in self._specs(setting)], _ignore)
                self._launched |= {setting.number for setting in missing}
                if self.executor.returns_early:
                    return False
                self._print(missing)
                self._check_records()
            elif len(self.search.settings) >= self.search.budget or not self._extend():
                self.search.write(self.results)
                return True

    def _missing(self) -> list[Setting]:
        """Settings of which a trial has no record, and that were not launched in this call."""
        tried = self.search.outcomes(self.store)
        return [
            setting
            for setting, now in zip(self.search.settings, tried, strict=True)
            if now.outcome.status == "open" and setting.number not in self._launched
        ]

    def _specs(self, setting: Setting) -> list[TrialSpec]:
        """The trials of a setting that have no record."""
        return [
            self.compose(words)
            for key, words in zip(setting.keys, self._words(setting), strict=True)
            if self.store.get(key, statistics=False) is None
        ]

    def _words(self, setting: Setting) -> list[list[str]]:
        """The overrides of a setting's trials."""
        words = [*self.fixed, *(f"{name}={value}" for name, value in setting.values.items())]
        return [[*words, f"seed={seed}"] for seed in self.search.seeds] if self.search.seeds else [words]

    def _extend(self) -> bool:
        """Propose up to the end of a batch; False where nothing new is left.

        A batch is told from its numbers, and what is open in it counts as open even when its record is there: so the
        proposals do not depend on where an earlier call was interrupted.
        """
        before = len(self.search.settings)
        start = before - before % self.batch
        tried: list[Tried] = self.search.outcomes(self.store, before=start)
        for number in range(before, min(start + self.batch, self.search.budget)):
            values = propose(self.space, tried, self.search.sampler, number, self.search.direction)
            if values is None:
                print(f"search {self.search.id}: nothing new is left to try after {number} settings", flush=True)
                break
            self.search.settings.append(self._setting(Setting(number, values)))
            tried = self.search.outcomes(self.store, before=start)
        self.search.write(self.results)
        return len(self.search.settings) > before

    def _setting(self, setting: Setting) -> Setting:
        """With its run keys, or the reason why it cannot run."""
        try:
            specs = [self.compose(words) for words in self._words(setting)]
        except ConfigError as error:
            print(f"search {self.search.id} {setting.number + 1}: refused: {error}", flush=True)
            setting.refused = str(error)
            return setting
        for spec in specs:
            check_split(spec.config.trainer.selection.split)
        setting.keys = [spec.key for spec in specs]
        return setting

    def _print(self, settings: Sequence[Setting]) -> None:
        tried = self.search.outcomes(self.store)
        for setting in settings:
            outcome = tried[setting.number].outcome
            value = f"{outcome.value:.4g}" if outcome.value is not None else f"{outcome.status} {outcome.reason or ''}"
            values = " ".join(f"{name}={text}" for name, text in setting.values.items())
            number = f"{setting.number + 1}/{self.search.budget}"
            print(f"search {self.search.id} {number}: {values}: validation {value.strip()}", flush=True)

    def _check_records(self) -> None:
        """Stop where nothing leaves a record: data or weights are missing, and every other setting would end so too.

        Raises:
            ConfigError: the errors are on the screen already.
        """
        tried = self.search.outcomes(self.store)
        pairs = zip(self.search.settings, tried, strict=True)
        statuses = [now.outcome.status for setting, now in pairs if setting.number in self._launched]
        last = statuses[-MOST_WITHOUT_RECORD:]
        if len(last) == MOST_WITHOUT_RECORD and set(last) == {"open"}:
            raise ConfigError(
                f"search {self.search.id}: {MOST_WITHOUT_RECORD} settings in a row left no record. Correct the errors "
                "above; the same command continues."
            )


def _ignore(spec: TrialSpec, result: object) -> None:
    """What became of a trial is read from its record."""
