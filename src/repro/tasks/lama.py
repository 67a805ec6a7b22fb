"""LAMA's facts of one T-REx relation, as a gap for the object (P-tuning; Liu et al. 2021, section 4.1 and Table 3).

Files are those of AutoPrompt, which the paper took: jsonl with `sub_label` and `obj_label`, one folder a relation. The
answer may be any token of a vocabulary file (`29k-vocab.json`: LAMA-29k, `34k-vocab.json`: LAMA-34k), and facts whose
object is not in it are left out, as in the paper's code. The paper trains one prompt a relation; its numbers are means
over the relations, so that a single record is not comparable with them.
"""

from __future__ import annotations

import reprlib
from pathlib import Path

from repro.errors import ConfigError, DataError
from repro.tasks.base import Example, TaskSection
from repro.tasks.file_task import FileTask
from repro.tasks.files import Loaded, read_json, read_jsonl, require_one_of, text_field
from repro.tasks.registry import register

FILES = {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"}
SPACE = "\u0120"
"""Begins the tokens of byte-level BPE that follow a space: the mark of RoBERTa's and GPT-2's vocabularies."""


@register("lama")
class Lama(FileTask):
    """A subject and a gap for the object, in the words of `task.cloze`; only encoders with `method.head=verbaliser`.

    `task.options`:
        relation: T-REx's name of it (P1001, ...).
        vocabulary: a json file in data_dir, {model: [token]}.
        vocabulary_name: whose list to take from it (bert-base-cased, roberta-large).
    """

    formats = ("cloze",)
    files = FILES
    obtain = "the facts are AutoPrompt's (github.com/ucinlp/autoprompt), the vocabularies github.com/THUDM/P-tuning's."
    inputs = ("sub_label",)
    cloze_deviation = (
        "template (3, sub, 3, obj, 3) as the paper's text has it: the released code puts the gap before the subject"
    )

    def __init__(
        self,
        section: TaskSection,
        *,
        relation: str | None = None,
        vocabulary: str | None = None,
        vocabulary_name: str | None = None,
    ) -> None:
        """Raises ConfigError: labels, or no vocabulary."""
        super().__init__(section)
        require_one_of("task.labels", list(self.labels), [[]])
        require_one_of("task.source", self._source.kind, ("local",))
        if not vocabulary or not vocabulary_name:
            raise ConfigError(
                f"task.options.vocabulary={vocabulary} and task.options.vocabulary_name={vocabulary_name}: name the "
                "file of tokens that may be an answer, and whose list to take from it (29k-vocab.json, "
                "bert-base-cased)."
            )
        self._file, self._name = vocabulary, vocabulary_name
        tokens = str(Path(section.data_dir) / vocabulary)
        self.needed = {split: (*paths, tokens) for split, paths in self.needed.items()}
        self._tokens: tuple[str, ...] = ()
        self._mark = ""
        """What begins the token of a whole word."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens that may be an answer, spelt as the model spells them.

        Raises:
            DataError: the file is missing, or has no such list.
        """
        if not self._tokens:
            self._tokens = self._read_vocabulary()
            self._mark = SPACE if any(token.startswith(SPACE) for token in self._tokens) else ""
        return self._tokens

    def _token(self, word: str) -> str:
        """The token of a whole word, as the vocabulary has it."""
        assert self.vocabulary
        return f"{self._mark}{word}"

    def _read_vocabulary(self) -> tuple[str, ...]:
        path = Path(self._source.data_dir) / self._file
        lists = read_json(path)
        found = lists.get(self._name) if isinstance(lists, dict) else None
        if not isinstance(found, list) or not found or not all(isinstance(token, str) for token in found):
            names = reprlib.repr(sorted(lists)) if isinstance(lists, dict) else reprlib.repr(lists)
            raise DataError(
                f"{path} has no list of tokens {self._name!r} (task.options.vocabulary_name): it has {names}."
            )
        return tuple(found)

    def _load(self, split: str) -> Loaded:
        located = read_jsonl(self._source.file(split))
        facts = [(text_field(row, "sub_label", where), text_field(row, "obj_label", where)) for where, row in located]
        known = set(self.vocabulary)
        kept = [(subject, answer) for subject, answer in facts if self._token(answer) in known]
        if facts and not kept:
            raise DataError(
                f"{self._source.place(split)}: no object of its {len(facts)} facts is in the vocabulary {self._name} "
                "(task.options.vocabulary_name)."
            )
        examples = [
            Example(f"{split}-{position}", {"sub_label": subject}, (answer,), meta={"token": self._token(answer)})
            for position, (subject, answer) in enumerate(kept)
        ]
        left = len(facts) - len(kept)
        said = (
            f"{split}: {left} of {len(facts)} facts have an object outside the vocabulary: left out, as in the paper."
        )
        return Loaded([list(fact) for fact in facts], examples, (said,) if left else ())

    def parse(self, output: object, example: Example) -> str:
        """The word of a token; a token that is no whole word stands in brackets."""
        token, mark = str(output), self._token("")
        return token.removeprefix(mark) if token.startswith(mark) else f"[{token}]"
