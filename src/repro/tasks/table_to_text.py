"""E2E: a restaurant's attributes to a sentence (Li & Liang 2021, section 5.1), in the authors' `source||target` lines.

What the authors' GPT-2 reads in training is `' {source} {bos} ' + target + ' {eos}'`, and `' {source} {bos}'` at test.
`render` gives source and target without any of these spaces and special tokens; the collator adds them, since it alone
knows the tokenizer and the family (T5 and BART read the source in the encoder instead).
"""

from __future__ import annotations

import csv
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from repro.errors import DataError
from repro.tasks.base import Example
from repro.tasks.file_task import FreeText
from repro.tasks.files import Loaded, read_lines, text_field
from repro.tasks.registry import register

FILES = {"train": "src1_train.txt", "validation": "src1_valid.txt", "test": "src1_test.txt"}
OBTAIN = (
    "the authors' files are in data/e2e_data of github.com/XiangLi1999/PrefixTuning, or set task.source=hub to load "
    "the original set from the hub (its references are not tokenised)."
)
ATTRIBUTES = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}
"""Attributes that the authors' files name otherwise than the original E2E files; the others are equal."""

NAMES = ("name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near")
"""The attributes of the original E2E."""
DISTINCT = {"validation": (4672, 547), "test": (4693, 630)}
"""Lines and distinct inputs of the original; the cleaned E2E has as many test lines, but other inputs."""
_CLEANED = "So many has the cleaned E2E (e2e_nlg_cleaned, GEM/e2e_nlg), which the paper did not use."

_SAME_ROWS = "So many test lines have the cleaned E2E and GEM's copy of it too (e2e_nlg_cleaned, GEM/e2e_nlg)."

LOOKALIKES = {"train": {33525: _CLEANED}, "validation": {4299: _CLEANED}}

_ATTRIBUTE = re.compile(r"([^\[\],]+)\[([^\]]*)\](?:, |$)")

DEVIATIONS = (
    "the space that ends each target in the authors' files is dropped in training.",
    "an empty generation stays empty; the authors write the word Error.",
    "validation loss is over the first reference of each input; the authors take every line.",
)
HUB_DEVIATION = "the hub's references are not tokenised, the authors' are: training targets and references differ."
CSV_DEVIATION = "the csv's references are not tokenised, the authors' are: training targets and references differ."


@register("table_to_text")
class TableToText(FreeText):
    """One text for one table: an example a line in training, an example a distinct input elsewhere.

    Grouping over the whole split, as the authors' `read_e2e_files` does, gives 547 validation and 630 test inputs. A
    file in .csv has the challenge's own format (`mr,ref`), whose tables become the authors' lines.

    Deviation: the space that ends each target in the authors' files is dropped, so that training ends a text as
    decoding does (the authors strip what they decode, and the references).
    Deviation: an empty generation stays empty; the authors replace it by the word Error before scoring.
    Deviation: the validation loss sees one reference an input, the authors' every line.
    Deviation (source=hub, csv): these references are untokenised, the authors' are tokenised.
    """

    files = FILES
    obtain = OBTAIN
    sample_fields = MappingProxyType({"source": "name : NAME | Type : TYPE"})
    lookalikes = LOOKALIKES

    def _load(self, split: str) -> Loaded:
        if self._source.kind == "hub":
            pairs = [hub_pair(row, where) for where, row in self._source.hub_rows(split)]
        elif self._is_csv(split):
            pairs = list(csv_pairs(self._source.file(split)))
        else:
            lines = read_lines(self._source.file(split))
            pairs = [source_and_target(line, where) for where, line in lines if line.strip()]
        examples = _examples(split, pairs)
        if split in DISTINCT:
            self._require_count(split, (len(pairs), len(examples)), DISTINCT[split], "distinct inputs", _SAME_ROWS)
        return Loaded([list(pair) for pair in pairs], examples)

    def _is_csv(self, split: str) -> bool:
        return self._source.files[split].removesuffix(".gz").endswith(".csv")

    def _own_deviations(self) -> tuple[str, ...]:
        if self._source.kind == "hub":
            return (*DEVIATIONS, HUB_DEVIATION)
        return (*DEVIATIONS, CSV_DEVIATION) if any(map(self._is_csv, self._source.files)) else DEVIATIONS


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


def hub_pair(row: Mapping[str, object], where: str) -> tuple[str, str]:
    """Linearised source and stripped reference of a row of tuetschek/e2e_nlg."""
    table = text_field(row, "meaning_representation", where)
    return linearised(table, where), text_field(row, "human_reference", where).strip()


def csv_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Linearised source and stripped reference of each row of the challenge's csv.

    Raises:
        DataError: a header other than `mr,ref`, or a row that has no two fields or no table; the line is named.
    """
    reader = csv.reader((f"{line}\n" for _, line in read_lines(path)), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader)]
        if header != ["mr", "ref"]:
            raise DataError(f"{path}:1 is {reprlib.repr(header)}: the header of E2E's csv is mr,ref.")
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if not row:
                continue
            if len(row) != 2 or not row[1].strip():
                raise DataError(f"{where} is {reprlib.repr(row)}: a table and a text are needed.")
            yield linearised(row[0], where), row[1].strip()
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num} is no csv ({error}): mend the line or get the file again."
        ) from error


def linearised(table: str, where: str) -> str:
    """`name[X], eatType[pub]` as the authors write it: `name : X | Type : pub`, prices tokenised (`£ 20 - 25`).

    Raises:
        DataError: `table` is not a list of `attribute[value]`, or has an attribute that E2E has not: its name in the
            authors' lines would be a guess.
    """
    parts, position = [], 0
    while position < len(table):
        found = _ATTRIBUTE.match(table, position)
        if not found:
            raise DataError(f"{where}: {reprlib.repr(table[position:])} is no list of `attribute[value]`.")
        attribute, value = found.group(1).strip(), found.group(2).strip()
        if attribute not in NAMES:
            raise DataError(f"{where}: E2E has no attribute {reprlib.repr(attribute)}, only {', '.join(NAMES)}.")
        if attribute == "priceRange":
            value = re.sub(r"\s+", " ", re.sub(r"([£-])", r" \1 ", value)).strip()
        parts.append(f"{ATTRIBUTES.get(attribute, attribute)} : {value}")
        position = found.end()
    if not parts:
        raise DataError(f"{where}: the meaning representation is empty.")
    return " | ".join(parts)
