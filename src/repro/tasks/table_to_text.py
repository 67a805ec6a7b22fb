"""E2E: a restaurant's attributes to a sentence (Li & Liang 2021, section 5.1), in the authors' `source||target` lines.

What the authors' GPT-2 reads in training is `' {source} {bos} ' + target + ' {eos}'`, and `' {source} {bos}'` at test.
`render` gives source and target without any of these spaces and special tokens; the collator adds them, since it alone
knows the tokenizer and the family (T5 and BART read the source in the encoder instead).
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from repro.errors import DataError
from repro.tasks.base import Example, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, read_lines, require_one_of, text_field

FILES = {"train": "src1_train.txt", "validation": "src1_valid.txt", "test": "src1_test.txt"}
OBTAIN = (
    "the authors' files are in data/e2e_data of github.com/XiangLi1999/PrefixTuning, or set task.source=hub to load "
    "the original set from the hub (its references are not tokenised)."
)
ATTRIBUTES = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}
"""Attributes that the authors' files name otherwise than the original E2E files; the others are equal."""

_ATTRIBUTE = re.compile(r"([^\[\],]+)\[([^\]]*)\](?:, |$)")

DEVIATIONS = (
    "the space that ends each target in the authors' files is dropped in training.",
    "an empty generation stays empty; the authors write the word Error.",
    "validation loss is over the first reference of each input; the authors take every line.",
)
HUB_DEVIATION = "the hub's references are not tokenised, the authors' are: training targets and references differ."


class TableToText(FileTask):
    """One text for one table: an example a line in training, an example a distinct input elsewhere.

    Grouping over the whole split, as the authors' `read_e2e_files` does, gives 547 validation and 630 test inputs. Its
    only option is `files` ({split: file name}).

    Deviation: the space that ends each target in the authors' files is dropped, so that training ends a text as
    decoding does (the authors strip what they decode, and the references).
    Deviation: an empty generation stays empty; the authors replace it by the word Error before scoring.
    Deviation: the validation loss sees one reference an input, the authors' every line.
    Deviation (source=hub): the hub's references are untokenised, the authors' are tokenised.
    """

    forms = ("text_to_text",)
    files = FILES
    obtain = OBTAIN
    options = ()

    def _set_up(self, options: dict[str, Any]) -> None:
        """Raises ConfigError: labels (the answer is free text)."""
        require_one_of("task.labels", list(self.labels), [[]])

    def _load(self, split: str) -> Loaded:
        if self._source.kind == "hub":
            pairs = [hub_pair(row, where) for where, row in self._source.hub_rows(split)]
        else:
            lines = read_lines(self._source.file(split))
            pairs = [source_and_target(line, where) for where, line in lines if line.strip()]
        return Loaded([list(pair) for pair in pairs], _examples(split, pairs))

    def render(self, example: Example) -> TextToText:
        """The linearised table and its first reference."""
        return TextToText(example.fields["source"], example.references[0])

    inputs = ("source",)

    def blank(self, fields: Mapping[str, Any]) -> str:
        """No text."""
        return ""

    def parse(self, output: Any, example: Example) -> str:
        """The generated text, stripped."""
        return str(output).strip()

    def _own_deviations(self) -> tuple[str, ...]:
        hub = (HUB_DEVIATION,) if self._source.kind == "hub" else ()
        return (*DEVIATIONS, *hub)


def _examples(split: str, pairs: Sequence[tuple[str, str]]) -> list[Example]:
    """One example a pair in training, else one a distinct source with all its targets, ordered by first appearance."""
    groups: list[tuple[str, tuple[str, ...]]]
    if split == "train":
        groups = [(source, (target,)) for source, target in pairs]
    else:
        targets: dict[str, list[str]] = {}
        for source, target in pairs:
            targets.setdefault(source, []).append(target)
        groups = [(source, tuple(texts)) for source, texts in targets.items()]
    return [
        Example(f"{split}-{position}", {"source": source}, references, cluster=source)
        for position, (source, references) in enumerate(groups)
    ]


def source_and_target(line: str, where: str) -> tuple[str, str]:
    """The two sides of `source||target`, stripped.

    Raises:
        DataError: not exactly one `||`, or an empty side. (The authors' reader skips such lines silently.)
    """
    sides = [side.strip() for side in line.split("||")]
    if len(sides) != 2 or not all(sides):
        raise DataError(f"{where} is {reprlib.repr(line)}: `source||target` with exactly one `||` is needed.")
    return sides[0], sides[1]


def hub_pair(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Linearised source and stripped reference of a row of tuetschek/e2e_nlg."""
    table = text_field(row, "meaning_representation", where)
    return linearised(table, where), text_field(row, "human_reference", where).strip()


def linearised(table: str, where: str) -> str:
    """`name[X], eatType[pub]` as the authors write it: `name : X | Type : pub`, prices tokenised (`£ 20 - 25`).

    Raises:
        DataError: `table` is not a list of `attribute[value]`.
    """
    parts, position = [], 0
    while position < len(table):
        found = _ATTRIBUTE.match(table, position)
        if not found:
            raise DataError(f"{where}: {reprlib.repr(table[position:])} is no list of `attribute[value]`.")
        attribute, value = found.group(1).strip(), found.group(2).strip()
        if attribute == "priceRange":
            value = re.sub(r"\s+", " ", re.sub(r"([£-])", r" \1 ", value)).strip()
        parts.append(f"{ATTRIBUTES.get(attribute, attribute)} : {value}")
        position = found.end()
    if not parts:
        raise DataError(f"{where}: the meaning representation is empty.")
    return " | ".join(parts)
