"""What every task that reads files (or a hub data set) shares: its arguments, its splits, and what it says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from repro.config import SplitLimits
from repro.metrics.base import Metric
from repro.tasks.base import Example
from repro.tasks.files import Loaded, Source, Splits, checked_options, require_one_of


class FileTask:
    """The fields of `TaskConfig`, checked, and the splits behind them; a subclass says how a split is read.

    Raises:
        ConfigError: an unknown form, source or option, a limit below 1, or what `_set_up` refuses.
    """

    forms: ClassVar[tuple[str, ...]]
    files: ClassVar[Mapping[str, str]]
    """{split: file name} where `task.options.files` names no other."""
    obtain: ClassVar[str]
    """A sentence saying where the files can be had."""
    options: ClassVar[tuple[str, ...]]
    """Names that `task.options` may hold, besides `files`. Two mean the same in every task that has them: `obtain`, a
    sentence in place of the class's, and `hub_configs`, {form: the config of the hub's data set}."""

    def __init__(
        self,
        *,
        name: str,
        form: str,
        data_dir: str,
        metrics: Sequence[Metric] = (),
        labels: Sequence[str] = (),
        source: str = "local",
        hub_id: str | None = None,
        hub_config: str | None = None,
        hub_revision: str | None = None,
        rows: Mapping[str, int] | None = None,
        check_rows: bool = True,
        limit: SplitLimits | Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Nothing is read here."""
        chosen = checked_options(options, ("files", *self.options))
        require_one_of("task.form", form, self.forms)
        self.name, self.form, self.metrics, self.labels = name, form, tuple(metrics), tuple(labels)
        files = {**self.files, **(chosen.get("files") or {})}
        obtain = chosen.get("obtain") or self.obtain
        hub_config = (chosen.get("hub_configs") or {}).get(form, hub_config)
        self._source = Source(name, source, data_dir, files, obtain, hub_id, hub_config, hub_revision)
        self._check_rows = check_rows
        self._splits = Splits(self._source, self._load, rows=rows, check_rows=check_rows, limit=limit)
        self._set_up(chosen)

    def _set_up(self, options: dict[str, Any]) -> None:
        """Check the labels and take the options."""
        raise NotImplementedError

    def _load(self, split: str) -> Loaded:
        """Read a whole split."""
        raise NotImplementedError

    def _own_deviations(self) -> tuple[str, ...]:
        """Differences from the paper that the splits do not know."""
        return ()

    def examples(self, split: str) -> tuple[Example, ...]:
        """See `Task.examples`."""
        return self._splits.examples(split)

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        """See `Task.fingerprint`."""
        return self._splits.fingerprint()

    @property
    def deviations(self) -> tuple[str, ...]:
        """See `Task.deviations`."""
        return (*self._own_deviations(), *self._splits.deviations())
