"""What every task that reads files (or a hub data set) shares: its arguments, its splits, and what it says of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from repro.errors import DataError
from repro.tasks.base import Example, SplitFacts, Task, TaskSection, TextToText
from repro.tasks.files import Loaded, Sizes, Source, Splits, require_one_of
from repro.tasks.subsets import Selection

SHOWN_DIGITS = 16
"""Hexadecimal digits of a content hash that configs and deviations show."""


class FileTask(Task):
    """The splits behind a `TaskSection`; a subclass says how one is read.

    Raises:
        ConfigError: an unknown format or source, or a number out of range.
    """

    shared_options = ("files", "obtain", "hub_configs")
    files: ClassVar[Mapping[str, str]]
    """{split: file name} where `task.options.files` names no other."""
    editions: ClassVar[Mapping[str, Mapping[int, str]]] = MappingProxyType({})
    """As in `Sizes`."""
    lookalikes: ClassVar[Mapping[str, Mapping[int, str]]] = MappingProxyType({})
    """As in `Sizes`."""

    def __init__(self, section: TaskSection) -> None:
        """Nothing is read here."""
        super().__init__(section)
        self.obtain = section.obtain or self.obtain
        self._source = Source(
            section.name,
            section.source,
            section.data_dir,
            {**self.files, **section.files},
            self.obtain,
            section.hub_id,
            section.hub_configs.get(section.format, section.hub_config),
            section.hub_revision,
        )
        files = self._source.files
        self.needed = {split: (str(Path(section.data_dir) / name),) for split, name in files.items()}
        self._original_rows, self._check_rows = dict(section.rows), section.check_rows
        sizes = Sizes(self._original_rows, self.editions, self.lookalikes)
        selection = Selection(section.limit, section.low_data, section.fraction)
        self._splits = Splits(self._source, self._load, sizes=sizes, check_rows=section.check_rows, selection=selection)
        self._stated = {split: (section.rows.get(split), digits) for split, digits in section.sha256.items()}

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

    def fingerprint(self) -> dict[str, SplitFacts]:
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
    inputs = ("source",)

    def __init__(self, section: TaskSection) -> None:
        """Raises ConfigError: labels."""
        super().__init__(section)
        require_one_of("task.labels", list(self.labels), [[]])

    def render(self, example: Example) -> TextToText:
        """The source and its first text."""
        return TextToText(str(example.fields["source"]), str(example.references[0] if example.references else ""))

    def blank(self, fields: Mapping[str, object]) -> tuple[str, ...]:
        """No text."""
        return ("",)

    def parse(self, output: object, example: Example) -> str:
        """The generated text, stripped."""
        return str(output).strip()
