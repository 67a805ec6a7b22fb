"""A record (`name : X | kind : inn | ...`) to a text, with parts of the test split that are scored by themselves too.

The lines look like E2E's (Li and Liang 2021, section 5.1), the subsets `seen` and `unseen` are WebNLG's idea: kinds of
things that training has, and others.
"""

from __future__ import annotations

import reprlib

from repro.errors import DataError
from repro.tasks.base import Example
from repro.tasks.file_task import FreeText
from repro.tasks.files import Loaded, read_jsonl, text_field
from repro.tasks.registry import register

FILES = {"train": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"}


@register("records_to_text")
class RecordsToText(FreeText):
    """Rows of jsonl: `source`, `texts` (one or several) and, by choice, `subset`.

    Training has an example for each text; elsewhere an example is a record with all its texts as references. Its only
    option is `files`.
    """

    files = FILES
    obtain = "it is a data set of your own."

    def _load(self, split: str) -> Loaded:
        """Raises DataError: a row without a source or texts, with its place."""
        rows: list[object] = []
        examples: list[Example] = []
        for where, row in read_jsonl(self._source.file(split)):
            source, texts = text_field(row, "source", where), row.get("texts")
            if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
                raise DataError(f"{where}: `texts` is {reprlib.repr(texts)}: a list of at least one text is needed.")
            meta = {} if row.get("subset") is None or split != "test" else {"subset": str(row["subset"])}
            rows.append([source, texts, row.get("subset")])
            for references in [(text,) for text in texts] if split == "train" else [tuple(texts)]:
                name = f"{split}-{len(examples)}"
                examples.append(Example(name, {"source": source}, references, cluster=source, meta=meta))
        return Loaded(rows, examples)
