"""What every task that reads files (or a hub data set) shares: its arguments, its splits, and what it says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from repro.config.task_schema import LowData, SplitLimits
from repro.errors import DataError
from repro.metrics.base import Metric
from repro.tasks.base import Example
from repro.tasks.files import Loaded, Sizes, Source, Splits, checked_options, require_one_of
from repro.tasks.subsets import Selection

SHOWN_DIGITS = 16
"""Hexadecimal digits of a content hash that configs and deviations show."""


class FileTask:
    """The fields of `TaskConfig`, checked, and the splits behind them; a subclass says how a split is read.

    Raises:
        ConfigError: an unknown format, source or option, a number out of range, or what `_set_up` refuses.
    """

    formats: ClassVar[tuple[str, ...]]
    files: ClassVar[Mapping[str, str]]
    """{split: file name} where `task.options.files` names no other."""
    obtain: ClassVar[str]
    """A sentence saying where the files can be had."""
    options: ClassVar[tuple[str, ...]]
    """Names that `task.options` may hold, besides `files`. Two mean the same in every task that has them: `obtain`, a
    sentence in place of the class's, and `hub_configs`, {format: the config of the hub's data set}."""
    editions: ClassVar[Mapping[str, Mapping[int, str]]] = {}
    """As in `Sizes`."""
    lookalikes: ClassVar[Mapping[str, Mapping[int, str]]] = {}
    """As in `Sizes`."""

    def __init__(
        self,
        *,
        name: str,
        format: str,
        data_dir: str,
        metrics: Sequence[Metric] = (),
        labels: Sequence[str] = (),
        source: str = "local",
        hub_id: str | None = None,
        hub_config: str | None = None,
        hub_revision: str | None = None,
        rows: Mapping[str, int] | None = None,
        sha256: Mapping[str, str] | None = None,
        check_rows: bool = True,
        limit: SplitLimits | Mapping[str, Any] | None = None,
        low_data: LowData | Mapping[str, Any] | None = None,
        fraction: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Nothing is read here."""
        chosen = checked_options(options, ("files", *self.options))
        require_one_of("task.format", format, self.formats)
        self.name, self.format, self.metrics, self.labels = name, format, tuple(metrics), tuple(labels)
        files = {**self.files, **(chosen.get("files") or {})}
        obtain = chosen.get("obtain") or self.obtain
        hub_config = (chosen.get("hub_configs") or {}).get(format, hub_config)
        self._source = Source(name, source, data_dir, files, obtain, hub_id, hub_config, hub_revision)
        self._original_rows, self._check_rows = dict(rows or {}), check_rows
        sizes = Sizes(self._original_rows, self.editions, self.lookalikes)
        selection = Selection(limit, low_data, fraction)
        self._splits = Splits(self._source, self._load, sizes=sizes, check_rows=check_rows, selection=selection)
        self._stated = {split: ((rows or {}).get(split), digits) for split, digits in (sha256 or {}).items()}
        self._set_up(chosen)

    def _set_up(self, options: dict[str, Any]) -> None:
        """Check the labels and take the options."""
        raise NotImplementedError

    def _load(self, split: str) -> Loaded:
        """Read a whole split."""
        raise NotImplementedError

    def _require_count(
        self, split: str, found: tuple[int, int], original: tuple[int, int], what: str, trap: str = ""
    ) -> None:
        """In a split with the original's number of rows, refuse another number of something else that was counted.

        Args:
            found, original: rows, and how many of `what` they have.
            trap: a sentence on what has as many rows too.

        Raises:
            DataError: with both numbers.
        """
        if self._check_rows and found[0] == original[0] and found[1] != original[1]:
            raise DataError(
                f"{self._source.place(split)} has {found[1]} {what}, the original {split} split of {self.name} has "
                f"{original[1]}, though both have {found[0]} rows: "
                + (f"{trap} " if trap else "")
                + f"{self._source.obtain} To use it all the same, set task.check_rows=false."
            )

    def _own_deviations(self) -> tuple[str, ...]:
        """Differences from the paper that the splits do not know."""
        return ()

    def examples(self, split: str) -> tuple[Example, ...]:
        """See `Task.examples`."""
        return self._splits.examples(split)

    def needed(self, split: str) -> tuple[str, ...]:
        """Paths of the local files that a split is read from (or patterns of them), whether or not they are there."""
        return (str(Path(self._source.data_dir) / self._source.files[split]),)

    def expected_hash(self, split: str) -> str | None:
        """The first digits of the original split's content hash; None where the config states none."""
        return self._stated[split][1] if split in self._stated else None

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        """See `Task.fingerprint`."""
        return self._splits.fingerprint()

    @property
    def deviations(self) -> tuple[str, ...]:
        """See `Task.deviations`."""
        return (*self._own_deviations(), *self._splits.deviations(), *self._content_deviations())

    def _content_deviations(self) -> tuple[str, ...]:
        """Splits of the original's size whose content is another; another size has been said, or was refused."""
        said = []
        for split, facts in self._splits.fingerprint().items():
            rows, digits = self._stated.get(split, (None, ""))
            if rows == facts["rows"] and not facts["sha256"].startswith(digits):
                found, original = facts["sha256"][:SHOWN_DIGITS], digits[:SHOWN_DIGITS]
                said.append(
                    f"{split}: the content's hash is {found}, the original's {original}: the rows are other ones, or "
                    "are written otherwise."
                )
        return tuple(said)


class FreeText(FileTask):
    """A task whose answer is a text: no labels, and what is generated is the prediction."""

    formats = ("text_to_text",)

    def _set_up(self, options: dict[str, Any]) -> None:
        """Raises ConfigError: labels, or an option's value."""
        require_one_of("task.labels", list(self.labels), [[]])
        self._take(options)

    def _take(self, options: Mapping[str, Any]) -> None:
        """Check and keep the options; a task may have none."""

    def blank(self, fields: Mapping[str, Any]) -> str:
        """No text."""
        return ""

    def parse(self, output: Any, example: Example) -> str:
        """The generated text, stripped."""
        return str(output).strip()
