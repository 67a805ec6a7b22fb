"""WSC (SuperGLUE): does this pronoun stand for that noun phrase?

Prompt tuning (Lester et al. 2021; papers/lester2021 sections (c) and (d)) marks the pronoun and has the model write
what it stands for (T5's `wsc_simple`): it trains on the rows where the given phrase is right, and compares what is
written with the phrase. P-Tuning v2 (Liu et al. 2022; papers/liu2022 section (c)) classifies pronoun, text and phrase.
"""

from __future__ import annotations

import reprlib
import string
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from repro.errors import DataError
from repro.tasks.base import Example, Pair, TaskSection, TextToText
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, read_jsonl, require_one_of, text_field
from repro.tasks.labels import class_id, label_of
from repro.tasks.nested import inner, whole
from repro.tasks.registry import register
from repro.tasks.superglue_files import FILES, OBTAIN

LABELS = ("False", "True")
TEXTS = ("text", "span1_text", "span2_text")
DETERMINERS = frozenset(
    {
        *("a", "an", "each", "every", "few", "her", "his", "many", "much", "my", "our", "some"),
        *("that", "the", "their", "these", "this", "those", "which", "whose", "your"),
    }
)
"""Words that do not count when a phrase is compared."""

EXCEPTIONS_DEVIATION = (
    "the two sentences of WSC whose pronoun is not where the file says are marked by a rule (a mark at the pronoun, or "
    "the next word), which gives the strings that T5 has written out for them, up to a space at the end of one."
)
NOT_REPAIRED = frozenset({"Kamenev and Zinoviev", "Kamenev, Zinoviev, and Stalin"})
"""Phrases whose words do not stand together in their text: wsc.fixed leaves them as they are."""


@register("wsc")
class Wsc(FileTask):
    """One row a phrase; as text, training has those rows alone whose phrase is right.

    `task.options`:
        template_id: pair: 0 puts the pronoun and a colon in front of the text, 1 asterisks around it.
    """

    formats = ("text_to_text", "pair")
    files = FILES
    obtain = OBTAIN
    inputs = TEXTS
    hidden = MappingProxyType({"span2_index": None})
    prefix = "wsc:"
    answers_with_labels = False
    sample_fields = MappingProxyType({"text": "TEXT SPAN2_TEXT TEXT"})

    def __init__(self, section: TaskSection, *, template_id: int = 0) -> None:
        """Raises ConfigError: labels other than False, True, or an unknown template."""
        super().__init__(section)
        require_one_of("task.labels", list(self.labels), [list(LABELS)])
        require_one_of("task.options.template_id", template_id, (0, 1))
        self._template = template_id

    def _load(self, split: str) -> Loaded:
        local = self._source.kind == "local"
        located = read_jsonl(self._source.file(split)) if local else self._source.hub_rows(split)
        rows, examples = [], []
        for position, (where, row) in enumerate(located):
            spans = inner(row, "target", where) if local else row
            fields: dict[str, Any] = {"text": text_field(row, "text", where)}
            fields |= {name: text_field(spans, name, where) for name in TEXTS[1:]}
            fields["span2_index"] = whole(spans, "span2_index", where)
            first = whole(spans, "span1_index", where)
            label = class_id(row, LABELS, "boolean" if local else None, where, required=split != "test")
            rows.append(fields | {"span1_index": first, "label": label})
            if local and self.format == "text_to_text":
                for name, index in (("span1_text", first), ("span2_text", fields["span2_index"])):
                    fields = fields | {name: repaired(fields["text"], fields[name], index)}
            self._check(fields, where)
            examples.append(
                Example(
                    id=f"{split}-{position}",
                    fields=fields,
                    references=() if label is None else (label,),
                    cluster=fields["text"],
                    meta={"idx": row.get("idx", position)},
                )
            )
        if split == "train" and self.format == "text_to_text":
            examples = [example for example in examples if example.references == (1,)]
        return Loaded(rows, examples)

    def _check(self, fields: Mapping[str, Any], where: str) -> None:
        """Raises DataError: no pronoun where the row says there is one."""
        if self.format == "text_to_text":
            marked(fields, where)
        elif self._template == 1 and fields["span2_index"] >= len(fields["text"].split()):
            raise DataError(f"{where}: span2_index is {fields['span2_index']}: the text has fewer words.")

    def render(self, example: Example) -> TextToText | Pair:
        """The marked text and the phrase, or P-Tuning v2's text with the pronoun, and the phrase."""
        fields = example.fields
        if self.format == "text_to_text":
            return TextToText(marked(fields, example.id), fields["span1_text"])
        if self._template == 0:
            first = f"{fields['span2_text']}: {fields['text']}"
        else:
            words, index = fields["text"].split(), _index(fields, fields["text"].split(), example.id)
            first = " ".join([*words[:index], f"*{words[index]}*", *words[index + 1 :]])
        return Pair(first, fields["span1_text"], label_of(example))

    def parse(self, output: Any, example: Example) -> int:
        """A class id; of a written phrase whether it names the given one, -1 if nothing is left of it."""
        if self.format == "pair":
            return int(output)
        return names_referent(str(output), example.fields["span1_text"])

    def _own_deviations(self) -> tuple[str, ...]:
        if self.format == "pair":
            return ()
        return (EXCEPTIONS_DEVIATION,)


def _index(fields: Mapping[str, Any], words: list[str], where: str) -> int:
    """Which word is the pronoun; an input of `repro predict` does not say, there it is the first that reads so."""
    if fields["span2_index"] is not None:
        return int(fields["span2_index"])
    if fields["span2_text"] not in words:
        raise DataError(f"{where}: the word {fields['span2_text']!r} is not in the text.")
    return words.index(fields["span2_text"])


def marked(fields: Mapping[str, Any], where: str) -> str:
    """The text with asterisks around the pronoun; words are what stands between single spaces.

    Raises:
        DataError: the word at `span2_index` is not the pronoun, with or without marks behind it, nor is the next.
    """
    words, pronoun = fields["text"].split(" "), fields["span2_text"]
    index = _index(fields, words, where)
    here, after = (words[at] if at < len(words) else "" for at in (index, index + 1))
    rest = here.removeprefix(pronoun)
    if here == pronoun:
        behind = words[index + 1 :]
    elif here.startswith(pronoun) and not rest.strip(string.punctuation):
        behind = [rest, *words[index + 1 :]]
    elif after == pronoun:
        index += 1
        behind = words[index + 1 :]
    else:
        raise DataError(
            f"{where}: span2_text is {reprlib.repr(pronoun)}, but word {index} of the text, counted from 0, is "
            f"{reprlib.repr(here)}: mend span2_index."
        )
    return " ".join([*words[:index], f"*{pronoun}*", *behind])


def repaired(text: str, phrase: str, index: int) -> str:
    """A phrase that is not in its text, as the loader behind `wsc.fixed` mends it (tensorflow/datasets super_glue.py).

    Args:
        index: of the phrase's first word in the text.
    """
    words = text.split()
    if phrase in text or phrase in NOT_REPAIRED or not phrase or index >= len(words):
        return phrase
    first = phrase[0].lower() if words[index][0].islower() else phrase[0].upper()
    return (first + phrase[1:]).rstrip(".").replace("\n", " ")


def names_referent(written: str, phrase: str) -> int:
    """Class id of a written phrase against the given one (T5's `wsc_simple`); -1 if nothing is written.

    Lower case, without determiners; then the words of one must all be among the other's. An apostrophe in only one of
    the two means different things ("Bob" is not "Bob's hat").
    """
    said, wanted = (
        " ".join(word for word in text.strip().lower().split(" ") if word not in DETERMINERS)
        for text in (written, phrase)
    )
    if not said:
        return -1
    if ("'" in said) != ("'" in wanted):
        return 0
    ours, theirs = set(said.split(" ")), set(wanted.split(" "))
    return int(ours <= theirs or theirs <= ours)
