"""DART: a set of triples to a text (Li & Liang 2021, section 5.1), linearised as the authors do.

The space and the special tokens around a source are the collator's business, as for E2E. Bars stand between triples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

from repro.errors import ConfigError, DataError
from repro.tasks.base import Example, TaskSection, TextToText
from repro.tasks.file_task import FreeText
from repro.tasks.files import Loaded, require_one_of
from repro.tasks.registry import register
from repro.tasks.triple_files import TRIPLES_DEVIATIONS, Entry, Triple, dart_entry, read_entries

FILES = {
    "train": "dart-v1.1.1-full-train.json",
    "validation": "dart-v1.1.1-full-dev.json",
    "test": "dart-v1.1.1-full-test.json",
}
OBTAIN = (
    "DART v1.1.1 is in github.com/Yale-LILY/dart, data/v1.1.1 (commit b5dfcab: the files of 2020, 6,959 test entries; "
    "since 2021-04-20 the test split has 5,097)."
)
_VERSION_2021 = "test: the DART files of 2021 ({found} entries); the paper used those of 2020 ({old})."
_TEST_2021 = 5097
"""Entries of the test split since v1.1.1 was replaced in place on 2021-04-20."""


@register("dart")
class Dart(FreeText):
    """DART v1.1.1, the files of 2020, which the paper used, or those of 2021.

    Entries with equal triples are one input: `evaluation.predict` decodes it once, and each entry is scored with its
    own texts, as the authors map their outputs back onto the entries.

    `task.options`:
        version: auto (the test split's size tells: 6,959 or 5,097), 2020 or 2021 (then the other is refused).
        references: how many of an entry's texts are scored against, the first ones, with empty ones where it has fewer
            (null: all it has). They are written as in the reference files of the official script (`script_text`).

    Deviation: the files of 2021 are not those of the paper.
    Deviation: validation loss over first texts; empty outputs stay empty; outer space is dropped.
    """

    files = FILES
    obtain = OBTAIN

    sample_fields = MappingProxyType({"source": "SUBJECT : property : OBJECT | SUBJECT : property : OBJECT"})

    def __init__(self, section: TaskSection, *, version: str | int = "auto", references: int | None = 3) -> None:
        """Raises ConfigError: an option's value."""
        super().__init__(section)
        self._version, self._number = str(version), references
        require_one_of("task.options.version", self._version, ("auto", "2020", "2021"))
        if references is not None and (not isinstance(references, int) or references < 1):
            raise ConfigError(f"task.options.references is {references!r}: give a number of texts, or null for all.")

    def render(self, example: Example) -> TextToText:
        """The linearised triples and the text as it stands; references are written otherwise."""
        target = example.fields.get("target", example.references[0] if example.references else "")
        return TextToText(example.fields["source"], target)

    def _load(self, split: str) -> Loaded:
        if self._source.kind == "hub":
            entries = [dart_entry(row, where) for where, row in self._source.hub_rows(split)]
        else:
            entries = read_entries(self._source.file(split))
        rows = [entry.row() for entry in entries]
        said, expected = self._edition(split, len(rows))
        if split == "train":
            examples = [
                _dart_example(split, f"{number}-{place}", entry, (script_text(text),), text)
                for number, entry in enumerate(entries)
                for place, text in enumerate(entry.texts)
            ]
            return Loaded(rows, examples, said, expected)
        examples = [
            _dart_example(split, str(number), entry, self._references(entry)) for number, entry in enumerate(entries)
        ]
        return Loaded(rows, examples, said, expected)

    def _edition(self, split: str, found: int) -> tuple[tuple[str, ...], int | None]:
        """What the record must say of the version, and the number of rows that the split must have."""
        old = self._original_rows.get(split)
        if split == "validation" or old is None or self._version == "2020":
            return (), None
        if split == "train":
            said = f"train: {found} entries, not checked: how many the files of 2021 have is not in our notes."
            return ((said,), found) if self._version == "2021" else ((), None)
        if self._version == "auto" and found != _TEST_2021:
            return (), None
        return (_VERSION_2021.format(found=found, old=old),), _TEST_2021

    def _references(self, entry: Entry) -> tuple[str, ...]:
        if not entry.texts:
            raise DataError(f"{entry.where} has no text: an entry that is scored needs a reference.")
        texts = [script_text(text) for text in entry.texts]
        if self._number is None:
            return tuple(texts)
        return tuple((texts + [""] * self._number)[: self._number])

    def _own_deviations(self) -> tuple[str, ...]:
        return TRIPLES_DEVIATIONS


def script_text(text: str) -> str:
    """A text as in the reference files of DART's script: split at every non-word character, in lower case."""
    return " ".join(" ".join(re.split(r"(\W)", text)).split()).lower()


def dart_source(triples: Sequence[Triple]) -> str:
    """`subject : relation : object | ...`, relations in lower case."""
    return " | ".join(f"{subject} : {relation.lower()} : {value}" for subject, relation, value in triples)


def _dart_example(split: str, name: str, entry: Entry, references: tuple[str, ...], text: str | None = None) -> Example:
    """The target is a text as it stands, whatever is done to references."""
    source = dart_source(entry.triples)
    target = entry.texts[0] if text is None else text
    return Example(f"{split}-{name}", {"source": source, "target": target.strip()}, references, cluster=source)
