"""The same task in other words: as a cloze, behind a task name, with a sentinel, after instructions and examples.

Each is a task around a task: what it does not change it passes on.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from repro.errors import ConfigError
from repro.methods import registry
from repro.tasks.base import Cloze, Example, TextToText
from repro.tasks.files import try_format

SENTINEL = "<extra_id_0>"
"""T5's first sentinel: pre-trained to begin every target (Lester et al. section 3.3, "Span Corruption + Sentinel")."""

MASK, _SLOT = "[MASK]", re.compile(r"\[P:(\d+)\]")

CLOZE_DEVIATION = "cloze template and words are ours: the papers' notes have none for this task"
SHOTS_DEVIATION = "the layout of instruction and examples in the prompt is ours: the paper does not print its own"


class Around:
    """A task that passes everything on to the one inside."""

    def __init__(self, inside: Any):
        self.inside = inside

    def __getattr__(self, name: str) -> Any:
        if name == "inside":  # while it is being copied or unpickled there is none yet
            raise AttributeError(name)
        return getattr(self.inside, name)


class Clozed(Around):
    """A class task as a sentence with a gap, which the language-model head fills with a class's word.

    Args:
        pieces: strings in order: `[MASK]` once, `[P:n]` places for n prompt rows, anything else a format string over
            the example's fields.
        slots: keep the places for prompt rows (the method has rows to put there); else they vanish.
        source: whose template and words they are, and how ours differ; None: they are ours.
    """

    format = "cloze"

    def __init__(self, inside: Any, pieces: Sequence[str], slots: bool, source: str | None = None):
        super().__init__(inside)
        if source:
            self.cloze_deviation = f"cloze template and words: {source}"
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
        gold = example.references[0] if example.references else -1
        if isinstance(gold, str):
            return Cloze(tuple(made), -1, token=self.inside.token(gold))
        return Cloze(tuple(made), int(gold))

    def parse(self, output: Any, example: Example) -> Any:
        """A class id, or a word where the task has no classes."""
        return self.inside.parse(output, example)

    @property
    def deviations(self) -> tuple[str, ...]:
        """The task's own, and where the template comes from."""
        return (*self.inside.deviations, getattr(self, "cloze_deviation", CLOZE_DEVIATION))


def cloze_rows(pieces: Sequence[str]) -> int:
    """How many prompt rows a template has places for."""
    return sum(int(found.group(1)) for piece in pieces if (found := _SLOT.fullmatch(piece)))


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

    def __init__(self, inside: Any, named: bool, sentinel: bool):
        super().__init__(inside)
        self._named, self._sentinel = named, sentinel

    def render(self, example: Example) -> TextToText:
        """The inner task's strings with what is put in front."""
        plain = self.inside.render(example)
        source = f"{getattr(self.inside, 'prefix', self.inside.name)} {plain.source}" if self._named else plain.source
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

    def __init__(self, inside: Any, text: str, shots: int, seed: int):
        super().__init__(inside)
        self._text, self._shots, self._seed = text, shots, seed
        self._shown: list[TextToText] | None = None

    def _examples(self) -> list[TextToText]:
        if self._shown is None:
            train = self.inside.examples("train")
            if self._shots > len(train):
                raise ConfigError(f"method.shots={self._shots}: there are {len(train)} training examples. Lower it.")
            chosen = random.Random(self._seed).sample(range(len(train)), self._shots)
            self._shown = [self.inside.render(train[index]) for index in chosen]
        return self._shown

    def render(self, example: Example) -> TextToText:
        """`text`, `source target` of every shot on a line of its own, then the source, which the model continues."""
        plain = self.inside.render(example)
        lines = [f"{shot.source} {shot.target}" for shot in self._examples()]
        body = "\n".join([*lines, plain.source])
        if "{source}" in self._text:
            return replace(plain, source=self._text.replace("{source}", body), asked=True)
        return replace(plain, source=f"{self._text}\n{body}" if self._text else body, asked=True)

    def parse(self, output: Any, example: Example) -> Any:
        """The inner task's answer to the first line: a model that was shown lines goes on to write more of them."""
        return self.inside.parse(str(output).strip().split("\n")[0].strip(), example)

    @property
    def deviations(self) -> tuple[str, ...]:
        """The task's own, and that the layout is ours."""
        return (*self.inside.deviations, SHOTS_DEVIATION)


def worded(task: Any, plain: Mapping[str, Any], format: str) -> Any:
    """The task as its config and the method want it said."""
    config, method = plain["task"], plain["method"]
    if format == "cloze":
        return Clozed(task, config["cloze"], method.get("placement") == "template", config.get("cloze_source"))
    if registry.method(method["name"]).capabilities.words:
        task = Prompted(task, method["text"], method["shots"], plain["seed"])
    if config.get("task_name_prefix") or config.get("sentinel"):
        task = Worded(task, bool(config.get("task_name_prefix")), bool(config.get("sentinel")))
    return task
