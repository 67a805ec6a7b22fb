"""LM adaptation: T5 continues text, a chunk's first part given (Lester et al. 2021, section 2.2).

The paper trains the span-corruption checkpoints on with the prefix-LM objective of Raffel et al. (2020): a chunk of
text is split at a uniformly random point, the encoder reads the first part and the decoder produces the rest. Trained
with `method=fine_tuning` this makes the checkpoints of 10K and 50K steps that were never released (Figure 3d).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from repro.errors import ConfigError, DataError
from repro.tasks.base import SPLITS, Example, TaskSection
from repro.tasks.file_task import FreeText
from repro.tasks.files import Loaded, read_lines, require_one_of, text_field
from repro.tasks.registry import register

FILES = {split: f"{split}/*.txt" for split in SPLITS}
OBTAIN = "any folder of UTF-8 *.txt files will do: books, or articles one a line."
DEVIATIONS = (
    "the text is not C4, the paper's; see the data fingerprint.",
    "chunks are cut and split between words, not tokens, and line breaks become spaces.",
    "each chunk is split at one point in every epoch; a task that draws anew each time sees it at many.",
)


@register("prefix_lm")
class PrefixLm(FreeText):
    """Chunks of `words` words, each split between two of its words; no metric, the loss is the result.

    With n words, the source has k of them and the target n - k, k uniform on 1 to n - 1: a function of
    (`split_seed`, split, number of the chunk) alone.

    `task.options.files` holds patterns of file names under `task.data_dir`; `train/*.txt` and so on by default.

    `task.options`:
        document: file (default) or line: what one document is; a chunk never spans two.
        words: words of a chunk; the last of a document may be shorter, a single word is left out.
        held_out: where validation has the same pattern as training, every so-many-th document is kept for it.
        split_seed: seed of the split points.
        column: of a hub corpus (task.source=hub, task.hub_id), whose rows are documents.

    Deviation: not C4; words instead of tokens; split points are fixed over epochs.
    """

    files = FILES
    obtain = OBTAIN

    def __init__(
        self,
        section: TaskSection,
        *,
        document: str = "file",
        words: int = 350,
        held_out: int = 20,
        split_seed: int = 0,
        column: str = "text",
    ) -> None:
        """Raises ConfigError: a number that is too small, or metrics."""
        super().__init__(section)
        require_one_of("task.metrics", list(self.metrics), [[]])
        require_one_of("task.options.document", document, ("file", "line"))
        for key, value, least in (("words", words, 2), ("held_out", held_out, 2), ("split_seed", split_seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"task.options.{key} is {value!r}: give a whole number of at least {least}.")
        self._by_line, self._chunk, self._held_out = document == "line", words, held_out
        self._seed, self._column = split_seed, column

    def _load(self, split: str) -> Loaded:
        documents = self._documents(split)
        if self._source.files["validation"] == self._source.files["train"]:
            kept = split == "validation"
            documents = [text for number, text in enumerate(documents) if (number % self._held_out == 0) == kept]
        pieces = [chunk for text in documents for chunk in chunks(text.split(), self._chunk)]
        return Loaded([" ".join(words) for words in pieces], [self._example(split, *at) for at in enumerate(pieces)])

    def _documents(self, split: str) -> list[str]:
        """Texts of the split's files, sorted by name, or of the hub's rows."""
        if self._source.kind == "hub":
            return [text_field(row, self._column, where) for where, row in self._source.hub_rows(split)]
        folder = Path(self._source.data_dir)
        paths = sorted(path for path in folder.glob(self._source.files[split]) if path.is_file())
        if not paths:
            raise DataError(
                f"{folder} has no file {self._source.files[split]} ({self.name}, {split}): set task.data_dir to a "
                f"folder of text, or task.options.files.{split}; {OBTAIN}"
            )
        read = [[line for _, line in read_lines(path)] for path in paths]
        return (
            [line for lines in read for line in lines if line.strip()] if self._by_line else list(map(" ".join, read))
        )

    def _example(self, split: str, number: int, words: Sequence[str]) -> Example:
        place = split_point(len(words), self._seed, split, number)
        source, target = " ".join(words[:place]), " ".join(words[place:])
        return Example(f"{split}-{number}", {"source": source}, (target,))

    def _own_deviations(self) -> tuple[str, ...]:
        return DEVIATIONS


def chunks(words: Sequence[str], size: int) -> list[Sequence[str]]:
    """Consecutive pieces of `size` words; the last may be shorter, but one word cannot be split and is left out."""
    cut = (words[start : start + size] for start in range(0, len(words), size))
    return [piece for piece in cut if len(piece) > 1]


def split_point(words: int, seed: int, split: str, number: int) -> int:
    """How many of a chunk's words are its source: uniform on 1 to words - 1, from (seed, split, number) alone."""
    generator = np.random.Generator(np.random.PCG64([seed, SPLITS.index(split), number]))
    return int(generator.integers(1, words))
