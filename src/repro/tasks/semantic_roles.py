"""Semantic roles: one predicate of a sentence and a tag for every word (Liu et al. 2022, section 4.1; tasks/srl).

P-Tuning v2's line format holds one proposition, the predicate's index (from 0) first:
`2 The cat sat ||| B-A0 I-A0 B-V`. The model reads the words, the word `[SEP]` and the predicate once more; only the
sentence's own words have tags. The predicates are given, in training and in the test.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from repro.errors import DataError
from repro.tasks.base import Example, Tagged, TaskSection
from repro.tasks.files import Loaded, read_lines, require_one_of
from repro.tasks.registry import register
from repro.tasks.tagging import Tagging
from repro.tasks.tags import known_tag

BAR = "|||"
MARK = "[SEP]"
"""Stands before the repeated predicate. One token of BERT; RoBERTa, whose separator has another name, reads its letters
(as in the official code)."""

Proposition = tuple[list[str], int, list[str]]
"""Words, the predicate's index among them, and a tag a word."""


@register("semantic_roles")
class SemanticRoles(Tagging):
    """The roles around one predicate. A data set of one's own in that line format needs only a yaml file.

    `task.labels` and the option `labels_from` are those of `Tagging`; it has no other option, and no hub.
    """

    obtain = (
        "CoNLL05 is made from the Penn Treebank, PropBank and the Brown corpus, CoNLL12 from OntoNotes 5.0 "
        "(LDC2013T19), under LDC's licences; bring one line a proposition: `<predicate index> words ||| tags`."
    )
    inputs = ("words", "predicate")
    sample_fields = MappingProxyType({"words": ("WORD", "WORD"), "predicate": 1})

    def __init__(self, section: TaskSection, *, labels_from: str | None = None) -> None:
        """Raises ConfigError: labels without O or with repeats, or a hub source."""
        super().__init__(section, labels_from=labels_from)
        require_one_of("task.source", self._source.kind, ("local",))

    def _load(self, split: str) -> Loaded:
        found = read_propositions(read_lines(self._source.file(split)), self._listed)
        said = self._know_tags(split, [tags for _, _, tags in found])
        examples = [
            # Propositions of one sentence share a cluster: their errors are not independent.
            Example(f"{split}-{position}", {"words": tuple(words), "predicate": predicate}, (tags,), " ".join(words))
            for position, (words, predicate, tags) in enumerate(found)
        ]
        return Loaded([list(proposition) for proposition in found], examples, tuple(said))

    def render(self, example: Example) -> Tagged:
        """The words with their tag ids, and behind them the mark and the predicate."""
        words = example.fields["words"]
        return Tagged(tuple(words), self._ids(example), behind=(MARK, words[int(example.fields["predicate"])]))

    def blank(self, fields: Mapping[str, Any]) -> tuple[list[str]]:
        """The tags of words that nobody has tagged.

        Raises:
            DataError: the predicate is no index of a word.
        """
        _index(fields["predicate"], len(fields["words"]), "the input")
        return super().blank(fields)


def read_propositions(lines: Sequence[tuple[str, str]], labels: Sequence[str]) -> list[Proposition]:
    """One proposition a line; blank lines are skipped.

    Args:
        lines: lines with their places, as `read_lines` gives them.
        labels: the tags that may occur; empty: any tag of the BIO kind.

    Raises:
        DataError: no bar or several, no index of a word, other than one tag a word, or a tag outside `labels`.
    """
    return [_proposition(line, where, labels) for where, line in lines if line.strip()]


def _proposition(line: str, where: str, labels: Sequence[str]) -> Proposition:
    parts = line.split(BAR)
    if len(parts) != 2:
        raise DataError(f"{where} has {len(parts) - 1} times {BAR!r}: it must stand once, between words and tags.")
    (first, *words), tags = parts[0].split() or [""], parts[1].split()
    predicate = _index(first, len(words), where)
    if len(words) != len(tags):
        raise DataError(f"{where} has {len(words)} words and {len(tags)} tags: one tag a word is needed.")
    return words, predicate, [known_tag(tag, labels, where) for tag in tags]


def _index(value: object, words: int, where: str) -> int:
    text = str(value)
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) >= words:
        raise DataError(
            f"{where} names {reprlib.repr(value)} as the predicate: the index of a word, below {words}, is needed."
        )
    return int(text)
