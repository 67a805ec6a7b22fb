"""One tag a word: named entities (Liu et al. 2022, section 4.1; P-Tuning v2's tasks/ner), and data of one's own.

A file holds one word a line with its tag, and a blank line after each sentence: CoNLL03, CoNLL04, OntoNotes and WNUT17
in their authors' own layout. The hub's CoNLL04 has entity spans, from which the tags are written here; its other sets
have ids of tags, in an order of the hub's own.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from repro.errors import ConfigError, DataError
from repro.tasks.base import Example, Tagged, TaskSection
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, read_lines, require_one_of
from repro.tasks.registry import register
from repro.tasks.tags import OUTSIDE, iob2, known_tag, missing_tags, tags_in, to_iob2

FILES = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
OBTAIN = (
    "CoNLL04 as used in the paper is in the data archive that github.com/THUDM/P-tuning-v2 links, WNUT17 at "
    "github.com/leondz/emerging_entities_17; CoNLL03 (Reuters text, an agreement with NIST) and OntoNotes 5.0 "
    "(LDC2013T19) are licensed; task.source=hub loads them from the hub."
)
DOCUMENT_START = "-DOCSTART-"

Sentence = tuple[list[str], list[str]]
"""Words, and as many tags."""


@register("tagging")
class Tagging(FileTask):
    """One tag a word. A new data set in a column format needs only a yaml file.

    `task.labels` names the tags in id order; empty with `task.options.labels_from=train`, they are read from the
    training file: O, then all others in alphabetical order.

    `task.options`:
        separator: between the columns of a line (default: one space).
        token_column, tag_column: from 0, or negative from the end (default: first and last).
        labels_from: train, where the config lists no labels.
        comments: lines that begin with this text are left out ("# ", say); null (default): every line counts.
        scheme: IOB2 rewrites tags in which an I- may begin a span (IOB1) as IOB2; null (default) keeps the file's.
        drop_unclosed: leave out the last sentence where no blank line follows it, as P-Tuning v2's loaders of CoNLL04
            and OntoNotes do (default: it is kept, and the record says so).
        hub_column: the column of tags on the hub (default: tags).
        hub_tags: the tag names of an integer column on the hub, in the hub's own order.
        hub_iob2: the hub's tags are known to be IOB2: refuse others, as a wrong `hub_tags` would make them.
    """

    formats = ("tagging",)
    files = FILES
    obtain = OBTAIN
    inputs: tuple[str, ...] = ("words",)
    sample_fields = MappingProxyType({"words": ("WORD", "WORD")})

    def __init__(
        self,
        section: TaskSection,
        *,
        separator: str = " ",
        token_column: int = 0,
        tag_column: int = -1,
        labels_from: str | None = None,
        comments: str | None = None,
        scheme: str | None = None,
        drop_unclosed: bool = False,
        hub_column: str = "tags",
        hub_tags: Sequence[str] | None = None,
        hub_iob2: bool = False,
    ) -> None:
        """Raises ConfigError: labels without O or with repeats, an unknown scheme, or columns that are no numbers."""
        super().__init__(section)
        self._take_labels(labels_from)
        self._scheme, self._comments = scheme, comments
        require_one_of("task.options.scheme", scheme, (None, "IOB2"))
        self._drop_unclosed, self._separator, self._columns = drop_unclosed, separator, (token_column, tag_column)
        if not separator or not all(isinstance(column, int) for column in self._columns):
            raise ConfigError(
                f"task.options.separator is {separator!r} and the columns are {self._columns}: give the text "
                "between two columns (a space, say), and their numbers."
            )
        self._hub, self._hub_iob2 = (hub_column, tuple(hub_tags or self._labels)), hub_iob2

    @property
    def labels(self) -> tuple[str, ...]:
        """Tag names, index = id; with `labels_from`, the training split is read for them."""
        if not self._labels:
            self.examples("train")
        return self._labels

    def _take_labels(self, source: str | None) -> None:
        require_one_of("task.options.labels_from", source, (None, "train"))
        if source and self._labels:
            raise ConfigError(
                f"task.labels of {self.name} lists {len(self._labels)} tags and task.options.labels_from={source}: "
                "give one of the two (task.labels=[], or task.options.labels_from=null)."
            )
        self._listed = self._labels
        """Tags that a file may hold; empty: any."""
        if not source and (OUTSIDE not in self._labels or len(set(self._labels)) < len(self._labels)):
            raise ConfigError(
                f"task.labels of {self.name} is {list(self._labels)}: name every tag once, O among them, or set "
                "task.labels=[] task.options.labels_from=train."
            )

    def _load(self, split: str) -> Loaded:
        sentences, said = self._hub_sentences(split) if self._source.kind == "hub" else self._file_sentences(split)
        if self._scheme:
            before = [tags for _, tags in sentences]
            sentences = [(words, to_iob2(tags)) for words, tags in sentences]
            changed = sum(old != new for old, (_, new) in zip(before, sentences, strict=True))
            said += [f"{split}: {changed} sentences rewritten to IOB2 (task.options.scheme)."] if changed else []
        said += self._know_tags(split, [tags for _, tags in sentences])
        examples = [
            Example(f"{split}-{position}", {"words": tuple(words)}, (tags,))
            for position, (words, tags) in enumerate(sentences)
        ]
        return Loaded(sentences, examples, tuple(said))

    def _know_tags(self, split: str, tags: Sequence[Sequence[str]]) -> list[str]:
        """Take the labels from the training split where there are none; what the record says of tags beyond them."""
        if not self._labels and split == "train":
            self._labels = tags_in(tags)
        return missing_tags(split, tags, self.labels)

    def _hub_sentences(self, split: str) -> tuple[list[Sentence], list[str]]:
        column, names = self._hub
        found = []
        for where, row in self._source.hub_rows(split):
            found.append(hub_sentence(row, where, self._listed, names, column))
            if self._hub_iob2:
                _require_iob2(found[-1][1], where)
        return found, []

    def _file_sentences(self, split: str) -> tuple[list[Sentence], list[str]]:
        """And what the official loader does otherwise at the end of the file."""
        lines = read_lines(self._source.file(split))
        if self._comments:
            lines = [(where, line) for where, line in lines if not line.startswith(self._comments)]
        sentences = read_sentences(lines, self._listed, self._separator, *self._columns)
        if not sentences or _ends_sentence(lines[-1][1]):
            return sentences, []
        what = "left out, as by the official loader" if self._drop_unclosed else "kept"
        said = [f"{split}: the last sentence, after which no blank line stands, is {what}."]
        return sentences[:-1] if self._drop_unclosed else sentences, said

    def render(self, example: Example) -> Tagged:
        """The words and their tag ids; sub-words are the collator's business (the first one carries the tag)."""
        return Tagged(example.fields["words"], self._ids(example))

    def _ids(self, example: Example) -> tuple[int | None, ...]:
        ids = {tag: number for number, tag in enumerate(self.labels)}
        return tuple(ids.get(tag) for tag in example.references[0])

    def blank(self, fields: Mapping[str, Any]) -> tuple[list[str]]:
        """The tags of words that nobody has tagged."""
        return ([OUTSIDE] * len(fields["words"]),)

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


def _require_iob2(tags: Sequence[str], where: str) -> None:
    if not iob2(tags):
        raise DataError(
            f"{where}: {reprlib.repr(list(tags))} is not IOB2, which this hub data set is known to be: the order of "
            "task.options.hub_tags is another data set's. Correct it, or set task.options.hub_iob2=false."
        )


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
        labels: the tags that may occur; empty: any tag of the BIO kind.

    Raises:
        DataError: a line with other columns than the first, without both, with an empty word, or with a tag outside
            `labels`.
    """
    sentences: list[Sentence] = []
    open_sentence, columns = False, 0
    for where, line in lines:
        if _ends_sentence(line):
            open_sentence = False
            continue
        columns = columns or line.count(separator) + 1
        if line.count(separator) + 1 != columns:
            raise DataError(
                f"{where} is {reprlib.repr(line)}: it has {line.count(separator) + 1} columns, the first line has "
                f"{columns} (separated by {separator!r}, task.options.separator). Mend the line."
            )
        word, tag = _columns(line, where, separator, token_column, tag_column)
        if not open_sentence:
            sentences.append(([], []))
            open_sentence = True
        sentences[-1][0].append(word)
        sentences[-1][1].append(known_tag(tag, labels, where))
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


def hub_sentence(
    row: Mapping[str, Any], where: str, labels: Sequence[str], hub_tags: Sequence[str], column: str = "tags"
) -> Sentence:
    """A hub row with `tokens`, and either `entities` (spans) or a column of tags (names, or ids of `hub_tags`).

    Raises:
        DataError: neither column, or values that do not fit the tokens.
    """
    tokens = row.get("tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise DataError(f"{where}: 'tokens' is {reprlib.repr(tokens)}: a list of words is needed.")
    if "entities" in row:
        tags = bio_tags(len(tokens), row["entities"], where)
    else:
        tags = [_tag_name(tag, hub_tags, where) for tag in row.get(column) or []]
    if len(tags) != len(tokens):
        raise DataError(
            f"{where} has {len(tokens)} tokens and {len(tags)} tags in {column!r}: one tag a token is needed "
            "(task.options.hub_column)."
        )
    return tokens, [known_tag(tag, labels, where) for tag in tags]


def _tag_name(tag: object, hub_tags: Sequence[str], where: str) -> str:
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
