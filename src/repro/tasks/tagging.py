"""Named entities as one tag a word (Liu et al. 2022, section 4.1; P-Tuning v2's tasks/ner): CoNLL04, WNUT17, others.

A file holds one word a line with its BIO tag, and a blank line after each sentence. The local files are the authors'
own layout; the hub's CoNLL04 has entity spans, from which the tags are written here.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from repro.errors import ConfigError, DataError
from repro.tasks.base import Example, Tagged
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, read_lines

FILES = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
OBTAIN = (
    "CoNLL04 as used in the paper is in the data archive that github.com/THUDM/P-tuning-v2 links, WNUT17 at "
    "github.com/leondz/emerging_entities_17; task.source=hub loads them from the hub."
)
OUTSIDE = "O"
DOCUMENT_START = "-DOCSTART-"

Sentence = tuple[list[str], list[str]]
"""Words, and as many tags."""


class Tagging(FileTask):
    """One tag a word. A new data set in a column format needs only a yaml file.

    `task.options`:
        files: {split: file name} (default: train.txt, dev.txt, test.txt).
        separator: between the columns of a line (default: one space).
        token_column, tag_column: from 0, or negative from the end (default: first and last).
        hub_tags: the tag names of an integer `tags` column on the hub, in the hub's own order.

    Deviation: P-Tuning v2's loader loses the last sentence of a file without a final blank line; here it is kept.
    """

    forms = ("tagging",)
    files = FILES
    obtain = OBTAIN
    options = ("separator", "token_column", "tag_column", "hub_tags")

    def _set_up(self, options: dict[str, Any]) -> None:
        """Raises ConfigError: labels without O or with repeats, or columns that are no numbers."""
        if OUTSIDE not in self.labels or len(set(self.labels)) < len(self.labels):
            raise ConfigError(f"task.labels of {self.name} is {list(self.labels)}: name every tag once, O among them.")
        self._separator = options.get("separator", " ")
        self._columns = (options.get("token_column", 0), options.get("tag_column", -1))
        if not self._separator or not all(isinstance(column, int) for column in self._columns):
            raise ConfigError(
                f"task.options.separator is {self._separator!r} and the columns are {self._columns}: give the text "
                "between two columns (a space, say), and their numbers."
            )
        self._hub_tags = tuple(options.get("hub_tags") or self.labels)

    def _load(self, split: str) -> Loaded:
        deviations: tuple[str, ...] = ()
        if self._source.kind == "hub":
            rows = self._source.hub_rows(split)
            sentences = [hub_sentence(row, where, self.labels, self._hub_tags) for where, row in rows]
        else:
            lines = read_lines(self._source.file(split))
            sentences = read_sentences(lines, self.labels, self._separator, *self._columns)
            if not _ends_sentence(lines[-1][1]):
                deviations = (f"{split}: the last sentence, after which no blank line stands, is kept.",)
        examples = [
            Example(f"{split}-{position}", {"words": tuple(words)}, (tags,))
            for position, (words, tags) in enumerate(sentences)
        ]
        return Loaded(sentences, examples, deviations)

    def render(self, example: Example) -> Tagged:
        """The words and their tag ids; sub-words are the collator's business (the first one carries the tag)."""
        return Tagged(example.fields["words"], tuple(self.labels.index(tag) for tag in example.references[0]))

    inputs = ("words",)

    def blank(self, fields: Mapping[str, Any]) -> list[str]:
        """The tags of words that nobody has tagged."""
        return [OUTSIDE] * len(fields["words"])

    def parse(self, output: Any, example: Example) -> list[str]:
        """Tag ids, one a word that the model saw, to tag names. Words cut off by the input limit have none: as in
        P-Tuning v2 they are left out of the score, and the evaluation counts them.

        Raises:
            ValueError: more tags than words (a fault of the caller).
        """
        tags = [self.labels[int(tag)] for tag in output]
        words = len(example.fields["words"])
        if len(tags) > words:
            raise ValueError(f"{example.id} has {words} words, but {len(tags)} tags were predicted.")
        return tags


def _ends_sentence(line: str) -> bool:
    return not line.strip() or line.startswith(DOCUMENT_START)


def read_sentences(
    lines: Sequence[tuple[str, str]],
    labels: Sequence[str],
    separator: str,
    token_column: int = 0,
    tag_column: int = -1,
) -> list[Sentence]:
    """Sentences of a column file: a blank line or -DOCSTART- ends one, and so does the end of the file.

    Args:
        lines: lines with their places, as `read_lines` gives them.

    Raises:
        DataError: a line without both columns, with an empty word, or with a tag outside `labels`.
    """
    sentences: list[Sentence] = []
    open_sentence = False
    for where, line in lines:
        if _ends_sentence(line):
            open_sentence = False
            continue
        word, tag = _columns(line, where, separator, token_column, tag_column)
        if not open_sentence:
            sentences.append(([], []))
            open_sentence = True
        sentences[-1][0].append(word)
        sentences[-1][1].append(_known_tag(tag, labels, where))
    return sentences


def _columns(line: str, where: str, separator: str, token_column: int, tag_column: int) -> tuple[str, str]:
    parts = line.split(separator)
    try:
        word, tag = parts[token_column], parts[tag_column].strip()
    except IndexError:
        word, tag = "", ""
    if len(parts) < 2 or not word.strip() or not tag:
        raise DataError(
            f"{where} is {reprlib.repr(line)}: a word and its tag, separated by {separator!r}, are needed "
            "(task.options.separator, token_column, tag_column)."
        )
    return word, tag


def _known_tag(tag: str, labels: Sequence[str], where: str) -> str:
    if tag not in labels:
        raise DataError(f"{where}: the tag {reprlib.repr(tag)} is not one of {list(labels)} (task.labels).")
    return tag


def hub_sentence(row: Mapping[str, Any], where: str, labels: Sequence[str], hub_tags: Sequence[str]) -> Sentence:
    """A hub row with `tokens`, and either `entities` (spans) or `tags` (names, or ids of `hub_tags`).

    Raises:
        DataError: neither column, or values that do not fit the tokens.
    """
    tokens = row.get("tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise DataError(f"{where}: 'tokens' is {reprlib.repr(tokens)}: a list of words is needed.")
    if "entities" in row:
        tags = bio_tags(len(tokens), row["entities"], where)
    else:
        tags = [_tag_name(tag, hub_tags, where) for tag in row.get("tags") or []]
    if len(tags) != len(tokens):
        raise DataError(f"{where} has {len(tokens)} tokens and {len(tags)} tags: one tag a token is needed.")
    return tokens, [_known_tag(tag, labels, where) for tag in tags]


def _tag_name(tag: Any, hub_tags: Sequence[str], where: str) -> str:
    if isinstance(tag, str):
        return tag
    if isinstance(tag, int) and 0 <= tag < len(hub_tags):
        return hub_tags[tag]
    raise DataError(f"{where}: the tag {tag!r} is no id from 0 to {len(hub_tags) - 1} (task.options.hub_tags).")


def bio_tags(length: int, entities: Any, where: str) -> list[str]:
    """BIO tags of `length` words from spans `{start, end, type}`, `end` exclusive (DFKI-SLT/conll04).

    Raises:
        DataError: a span that is empty, leaves the sentence or overlaps another. An inclusive `end` would show here.
    """
    tags = [OUTSIDE] * length
    for entity in entities if isinstance(entities, list) else [entities]:
        try:
            start, end, kind = int(entity["start"]), int(entity["end"]), str(entity["type"])
        except (TypeError, LookupError, ValueError, OverflowError) as error:
            raise DataError(f"{where}: the entity {reprlib.repr(entity)} needs start, end and type.") from error
        if not 0 <= start < end <= length or any(tag != OUTSIDE for tag in tags[start:end]):
            raise DataError(
                f"{where}: the {kind} entity from word {start} to {end} (exclusive) is empty, overlaps another, or "
                f"leaves the {length} words."
            )
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return tags
