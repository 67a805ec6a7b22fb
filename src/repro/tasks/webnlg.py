"""WebNLG 2017: a set of triples to a text (Li & Liang 2021, section 5.1), linearised as the authors do.

The space and the special tokens around a source are the collator's business, as for E2E. A bar stands before every
triple.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from repro.errors import DataError
from repro.tasks.base import Example, TaskSection
from repro.tasks.file_task import FreeText
from repro.tasks.files import Loaded, require_one_of
from repro.tasks.registry import register
from repro.tasks.triple_files import TRIPLES_DEVIATIONS, Entry, Triple, read_entries, webnlg_row

SEEN = (
    *("Airport", "Astronaut", "Building", "City", "ComicsCharacter", "Food", "Monument", "SportsTeam", "University"),
    "WrittenWork",
)
"""Categories of the training set. The paper counts nine, the training file of 2017 has these ten."""
UNSEEN = ("Artist", "Athlete", "CelestialBody", "MeanOfTransportation", "Politician")

FILES = {"train": "train.json", "validation": "dev.json", "test": "test.json"}
LOOKALIKES = {
    "test": {
        4615: "It is three files in one, testdata_no_lex, testdata_unseen_with_lex and testdata_with_lex: only the "
        "1,862 entries of testdata_with_lex are the test set.",
        891: "These are the unseen categories alone.",
    }
}
GOOD_TEXTS, SEEN_ENTRIES = (6940, 18025), (1862, 971)
"""Entries of the original training set and texts with the comment good; test entries and those of seen categories."""
OBTAIN = (
    "the data of 2017 are in gitlab.com/shimorina/webnlg-dataset, folder webnlg_challenge_2017, and in "
    "github.com/XiangLi1999/PrefixTuning, data/webnlg_challenge_2017."
)


@register("webnlg")
class WebNlg(FreeText):
    """WebNLG 2017. The test split has the subsets `seen` and `unseen`: categories of the training set, and others.

    A split is a json file, an xml file, or a folder of xml files as the challenge ships them.

    `task.options`:
        first_test_without_bar: the very first test example lacks the leading bar, as in the official reader, which asks
            for the example's index where it means the triple's. The recipes keep it.

    Training keeps the texts that their reviewers called good (18,025 of 18,102); decoding has every reference.

    Deviation: the bar of the first test example differs from the paper's format or from its code.
    Deviation: validation loss over first references; empty outputs stay empty; outer space is dropped.
    """

    files = FILES
    obtain = OBTAIN
    lookalikes = LOOKALIKES

    sample_fields = MappingProxyType({"source": "| SUBJECT : PROPERTY : OBJECT | SUBJECT : PROPERTY : OBJECT"})

    def __init__(self, section: TaskSection, *, first_test_without_bar: bool = True) -> None:
        """Raises ConfigError: the switch is neither true nor false."""
        super().__init__(section)
        require_one_of("task.options.first_test_without_bar", first_test_without_bar, (True, False))
        self._without_bar = first_test_without_bar

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
        return (first, *TRIPLES_DEVIATIONS)


def _of_the_test_set(row: Mapping[str, object]) -> bool:
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
