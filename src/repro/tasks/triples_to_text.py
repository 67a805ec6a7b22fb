"""WebNLG 2017 and DART: a set of triples to a text (Li & Liang 2021, section 5.1), linearised as the authors do.

`render` gives the source without the space and the special tokens that the collator adds, as for E2E. Bars stand before
every triple of WebNLG and between the triples of DART (notes on the paper, section (c)).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.errors import ConfigError, DataError
from repro.tasks.base import Example, TextToText
from repro.tasks.file_task import FreeText
from repro.tasks.files import Loaded, require_one_of
from repro.tasks.triple_files import Entry, Triple, dart_entry, read_entries, webnlg_row

SEEN = (
    *("Airport", "Astronaut", "Building", "City", "ComicsCharacter", "Food", "Monument", "SportsTeam", "University"),
    "WrittenWork",
)
"""Categories of the training set. The paper counts nine, the training file of 2017 has these ten."""
UNSEEN = ("Artist", "Athlete", "CelestialBody", "MeanOfTransportation", "Politician")

WEBNLG_FILES = {"train": "train.json", "validation": "dev.json", "test": "test.json"}
WEBNLG_LOOKALIKES = {
    "test": {
        4615: "It is three files in one, testdata_no_lex, testdata_unseen_with_lex and testdata_with_lex: only the "
        "1,862 entries of testdata_with_lex are the test set.",
        891: "These are the unseen categories alone.",
    }
}
GOOD_TEXTS, SEEN_ENTRIES = (6940, 18025), (1862, 971)
"""Entries of the original training set and texts with the comment good; test entries and those of seen categories."""
WEBNLG_OBTAIN = (
    "the data of 2017 are in gitlab.com/shimorina/webnlg-dataset, folder webnlg_challenge_2017, and in "
    "github.com/XiangLi1999/PrefixTuning, data/webnlg_challenge_2017."
)
DART_FILES = {
    "train": "dart-v1.1.1-full-train.json",
    "validation": "dart-v1.1.1-full-dev.json",
    "test": "dart-v1.1.1-full-test.json",
}
DART_OBTAIN = (
    "DART v1.1.1 is in github.com/Yale-LILY/dart, data/v1.1.1 (commit b5dfcab: the files of 2020, 6,959 test entries; "
    "since 2021-04-20 the test split has 5,097)."
)

_LOSS = "validation loss is over the first text of each set of triples; the authors take every one."
_EMPTY = "an empty generation stays empty; the authors write the word Error."
_SPACE = "space around a text is dropped, in training and in references."


class TriplesToText(FreeText):
    """One text for one set of triples: an example a text in training, an example an entry elsewhere."""

    inputs = ("source",)

    def render(self, example: Example) -> TextToText:
        """The linearised triples and the first text."""
        target = example.fields.get("target", example.references[0] if example.references else "")
        return TextToText(example.fields["source"], target)


# WebNLG --------------------------------------------------------------------------------------------------------------


class WebNlg(TriplesToText):
    """WebNLG 2017. The test split has the subsets `seen` and `unseen`: categories of the training set, and others.

    `task.options`:
        files: {split: file or folder}: json, xml, or a folder of xml files as the challenge ships them.
        first_test_without_bar: the very first test example lacks the leading bar, as in the official reader, which asks
            for the example's index where it means the triple's. The recipes keep it.

    Training keeps the texts that their reviewers called good (18,025 of 18,102); decoding has every reference.

    Deviation: the bar of the first test example differs from the paper's format or from its code.
    Deviation: validation loss over first references; empty outputs stay empty; outer space is dropped.
    """

    files = WEBNLG_FILES
    obtain = WEBNLG_OBTAIN
    options = ("first_test_without_bar",)
    lookalikes = WEBNLG_LOOKALIKES

    def _take(self, options: Mapping[str, Any]) -> None:
        self._without_bar = options.get("first_test_without_bar", True)
        require_one_of("task.options.first_test_without_bar", self._without_bar, (True, False))

    def _load(self, split: str) -> Loaded:
        entries = self._entries(split)
        rows = [entry.row() for entry in entries]
        if split == "train":
            pairs = [(entry, text.strip()) for entry in entries for text in good_texts(entry)]
            self._require_count(split, (len(rows), len(pairs)), GOOD_TEXTS, "texts with the comment good")
            examples = [_webnlg_example(split, number, entry, (text,)) for number, (entry, text) in enumerate(pairs)]
            return Loaded(rows, examples)
        examples = []
        for number, entry in enumerate(entries):
            texts = tuple(text.strip() for text in entry.texts if text.strip())
            if not texts and split == "validation":
                raise DataError(f"{entry.where} has no text: an entry of {split} needs a reference.")
            bare = self._without_bar and split == "test" and number == 0
            examples.append(_webnlg_example(split, number, entry, texts, bare=bare))
        if split == "test":
            seen = sum(example.meta["subset"] == "seen" for example in examples)
            self._require_count(split, (len(rows), seen), SEEN_ENTRIES, "entries of seen categories")
        return Loaded(rows, examples)

    def _entries(self, split: str) -> list[Entry]:
        if self._source.kind == "local":
            return read_entries(self._source.file(split, or_folder=True))
        rows = self._source.hub_rows({"validation": "dev"}.get(split, split))
        if split == "test":
            rows = [(where, row) for where, row in rows if _of_the_test_set(row)] or rows
        return [webnlg_row(row, where) for where, row in rows]

    def _own_deviations(self) -> tuple[str, ...]:
        first = (
            "the first test example has no bar before its first triple, as in the official code (a slip there)."
            if self._without_bar
            else "the first test example has a bar before its first triple; the official code leaves it out there."
        )
        return (first, _LOSS, _EMPTY, _SPACE)


def _of_the_test_set(row: Mapping[str, Any]) -> bool:
    """The hub's test split has three files in one; `test_category` names a row's."""
    return Path(str(row.get("test_category"))).name.removesuffix(".xml") == "testdata_with_lex"


def good_texts(entry: Entry) -> list[str]:
    """The texts whose comment is `good`, as the authors' training reader takes them."""
    return [text for text, comment in zip(entry.texts, entry.comments, strict=True) if comment == "good"]


def webnlg_source(triples: Sequence[Triple], bare: bool = False) -> str:
    """` | subject : property : object` for each triple; `bare`: without the first bar."""
    text = "".join(f" | {' : '.join(triple)}" for triple in triples)
    return text.removeprefix(" | ") if bare else text


def _webnlg_example(split: str, number: int, entry: Entry, references: tuple[str, ...], bare: bool = False) -> Example:
    if split == "test" and entry.category not in (*SEEN, *UNSEEN):
        raise DataError(
            f"{entry.where} has the category {entry.category!r}, WebNLG 2017 has {', '.join((*SEEN, *UNSEEN))}."
        )
    meta = {"category": entry.category}
    if split == "test":
        meta["subset"] = "seen" if entry.category in SEEN else "unseen"
    full = webnlg_source(entry.triples)
    fields = {"source": webnlg_source(entry.triples, bare)}
    return Example(f"{split}-{number}", fields, references, cluster=full, meta=meta)


# DART ----------------------------------------------------------------------------------------------------------------

_VERSION_2021 = "test: the DART files of 2021 ({found} entries); the paper used those of 2020 ({old})."
_TEST_2021 = 5097
"""Entries of the test split since v1.1.1 was replaced in place on 2021-04-20."""


class Dart(TriplesToText):
    """DART v1.1.1, the files of 2020, which the paper used, or those of 2021.

    Entries with equal triples are one input: `evaluation.predict` decodes it once, and each entry is scored with its
    own texts, as the authors map their outputs back onto the entries.

    `task.options`:
        files: {split: file}: json, or xml.
        version: auto (the test split's size tells: 6,959 or 5,097), 2020 or 2021 (then the other is refused).
        references: how many of an entry's texts are scored against, the first ones, with empty ones where it has fewer
            (null: all it has). They are written as in the reference files of the official script (`script_text`).

    Deviation: the files of 2021 are not those of the paper.
    Deviation: validation loss over first texts; empty outputs stay empty; outer space is dropped.
    """

    files = DART_FILES
    obtain = DART_OBTAIN
    options = ("version", "references")

    def _take(self, options: Mapping[str, Any]) -> None:
        self._version = str(options.get("version", "auto"))
        require_one_of("task.options.version", self._version, ("auto", "2020", "2021"))
        self._number = options.get("references", 3)
        if self._number is not None and (not isinstance(self._number, int) or self._number < 1):
            raise ConfigError(f"task.options.references is {self._number!r}: give a number of texts, or null for all.")

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
        return (_LOSS, _EMPTY, _SPACE)


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
