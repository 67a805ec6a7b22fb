"""The same task in other words: as a cloze, behind a task name, with a sentinel, after instructions and examples.

Each is a task around a task: what it does not change it passes on.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from repro.config.schema import TaskConfig
from repro.errors import ConfigError
from repro.tasks.base import Cloze, Example, SplitFacts, Task, TextToText
from repro.tasks.files import try_format

SENTINEL = "<extra_id_0>"
"""T5's first sentinel: pre-trained to begin every target (Lester et al. section 3.3, "Span Corruption + Sentinel")."""

MASK, _SLOT = "[MASK]", re.compile(r"\[P:(\d+)\]")

SHOTS_DEVIATION = "the layout of instruction and examples in the prompt is ours: the paper does not print its own"


@dataclass(frozen=True)
class Wording:
    """How a method wants a task said."""

    prompt_rows: bool = False
    """A cloze keeps its places for prompt rows."""
    instruction: str | None = None
    """Text to text: what stands in front of every input; with `{source}` in it, around it. None: nothing, no shots."""
    shots: int = 0
    """Training examples that are shown after the instruction, drawn with `seed`."""
    seed: int = 0


AS_IT_IS = Wording()


class Around(Task):
    """A task that passes everything on to the one inside."""

    def __init__(self, inside: Task, format: str | None = None):
        self.inside, self.name, self.format = inside, inside.name, format or inside.format
        self.metrics, self.also_metrics, self.parts = inside.metrics, inside.also_metrics, inside.parts
        self.inputs, self.hidden, self.prefix = inside.inputs, inside.hidden, inside.prefix
        self.needed, self.obtain, self.sha256 = inside.needed, inside.obtain, inside.sha256

    @property
    def labels(self) -> tuple[str, ...]:
        """The inner task's, which may have to read a file for them."""
        return self.inside.labels

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The inner task's."""
        return self.inside.vocabulary

    @property
    def deviations(self) -> tuple[str, ...]:
        """The inner task's."""
        return self.inside.deviations

    def examples(self, split: str) -> Sequence[Example]:
        """The inner task's."""
        return self.inside.examples(split)

    def parse(self, output: Any, example: Example) -> Any:
        """As the inner task does."""
        return self.inside.parse(output, example)

    def blank(self, fields: Mapping[str, Any]) -> tuple[Any, ...]:
        """As the inner task does."""
        return self.inside.blank(fields)

    def fingerprint(self) -> dict[str, SplitFacts]:
        """The inner task's."""
        return self.inside.fingerprint()

    def _text(self, example: Example) -> TextToText:
        """The inner task's strings; only a task in the format text to text stands inside."""
        rendered = self.inside.render(example)
        assert isinstance(rendered, TextToText)
        return rendered


class Clozed(Around):
    """A class task as a sentence with a gap, which the language-model head fills with a class's word.

    Args:
        pieces: strings in order: `[MASK]` once, `[P:n]` places for n prompt rows, anything else a format string over
            the example's fields.
        slots: keep the places for prompt rows (the method has rows to put there); else they vanish.
        source: whose template and words they are, and how ours differ; None: they are ours.
    """

    def __init__(self, inside: Task, pieces: Sequence[str], slots: bool, source: str | None = None):
        super().__init__(inside, "cloze")
        self._source = f"cloze template and words: {source}" if source else inside.cloze_deviation
        self._pieces = checked_cloze(pieces, inside.inputs)
        self._slots = slots

    def render(self, example: Example) -> Cloze:
        """Texts, places and the gap, in order; -1 is the label of an unlabelled example."""
        made: list[str | int | None] = []
        for piece in self._pieces:
            if piece == MASK:
                made.append(None)
            elif found := _SLOT.fullmatch(piece):
                made += [int(found.group(1))] if self._slots else []
            else:
                made.append(piece.format(**example.fields))
        if "token" in example.meta:
            return Cloze(tuple(made), -1, token=example.meta["token"])
        return Cloze(tuple(made), int(example.references[0]) if example.references else -1)

    @property
    def deviations(self) -> tuple[str, ...]:
        """The task's own, and where the template comes from."""
        return (*self.inside.deviations, self._source)


def checked_cloze(pieces: Sequence[str], fields: Sequence[str]) -> tuple[str, ...]:
    """The pieces, if they make a cloze of these fields.

    Raises:
        ConfigError: no gap or several, or a field that the task has not.
    """
    if list(pieces).count(MASK) != 1:
        raise ConfigError(f"task.cloze={list(pieces)}: {MASK} must stand in it once, as a piece of its own.")
    for piece in pieces:
        if piece == MASK or _SLOT.fullmatch(piece):
            continue
        try_format("task.cloze has the piece", piece, fields)
    return tuple(pieces)


class Worded(Around):
    """Text to text with the task's name in front of the source, and a sentinel in front of the target.

    Args:
        named: `boolq passage: ...`, as T5's multi-task mixtures have it (lester2021 section (c)): the task's `prefix`,
            or where it has none its name.
        sentinel: the target begins with T5's first sentinel, which is taken off what is generated.
    """

    def __init__(self, inside: Task, named: bool, sentinel: bool):
        super().__init__(inside)
        self._named, self._sentinel = named, sentinel

    def render(self, example: Example) -> TextToText:
        """The inner task's strings with what is put in front."""
        plain = self._text(example)
        source = f"{self.inside.prefix or self.inside.name} {plain.source}" if self._named else plain.source
        return TextToText(source, f"{SENTINEL} {plain.target}" if self._sentinel else plain.target)

    def parse(self, output: Any, example: Example) -> Any:
        """The inner task's answer to the text without its sentinel."""
        text = str(output)
        if self._sentinel:
            text = text.strip().removeprefix(SENTINEL).strip()
        return self.inside.parse(text, example)


class Prompted(Around):
    """Text to text behind an instruction and worked examples: prompt design (Lester et al. section 1, footnote 5).

    Args:
        text: in front of everything; with `{source}` in it, around the input.
        shots: how many training examples are shown, drawn with `seed`; the input follows them in their layout.
    """

    def __init__(self, inside: Task, text: str, shots: int, seed: int):
        super().__init__(inside)
        self._instruction, self._shots, self._seed = text, shots, seed
        self._shown: list[TextToText] | None = None

    def _examples(self) -> list[TextToText]:
        if self._shown is None:
            train = self.inside.examples("train")
            if self._shots > len(train):
                raise ConfigError(f"method.shots={self._shots}: there are {len(train)} training examples. Lower it.")
            chosen = random.Random(self._seed).sample(range(len(train)), self._shots)
            self._shown = [self._text(train[index]) for index in chosen]
        return self._shown

    def render(self, example: Example) -> TextToText:
        """`text`, `source target` of every shot on a line of its own, then the source, which the model continues."""
        plain = self._text(example)
        lines = [f"{shot.source} {shot.target}" for shot in self._examples()]
        body = "\n".join([*lines, plain.source])
        text = self._instruction
        if "{source}" in text:
            return replace(plain, source=text.replace("{source}", body), asked=True)
        return replace(plain, source=f"{text}\n{body}" if text else body, asked=True)

    def parse(self, output: Any, example: Example) -> Any:
        """The inner task's answer to the first line: a model that was shown lines goes on to write more of them."""
        return self.inside.parse(str(output).strip().split("\n")[0].strip(), example)

    @property
    def deviations(self) -> tuple[str, ...]:
        """The task's own, and that the layout is ours."""
        return (*self.inside.deviations, SHOTS_DEVIATION)


def worded(task: Task, config: TaskConfig, format: str, wording: Wording) -> Task:
    """The task as its config and the method want it said."""
    if format == "cloze":
        return Clozed(task, config.cloze, wording.prompt_rows, config.cloze_source)
    if wording.instruction is not None:
        task = Prompted(task, wording.instruction, wording.shots, wording.seed)
    if config.task_name_prefix or config.sentinel:
        task = Worded(task, config.task_name_prefix, config.sentinel)
    return task
