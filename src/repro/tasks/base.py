"""The nouns of a task: an example, the formats in which a model can see it, and the Task protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from repro.metrics.base import Metric

SPLITS = ("train", "validation", "test")
FORMATS = ("text_to_text", "pair", "choice", "ranking", "tagging", "span", "cloze")
"""Forms of rendering: `text_to_text` for models that generate; the others are read by a head on an encoder, `cloze` by
its own language-model head."""


@dataclass(frozen=True)
class Example:
    """One row of a split, before any rendering."""

    id: str
    fields: Mapping[str, Any]
    references: tuple[Any, ...]
    """Gold answers, of the type that the task's metrics take. Empty on an unlabelled test split."""
    cluster: str | None = None
    """Examples that share a passage or an input share a cluster (clustered standard errors)."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What is known beside it. `subset`: the part of its split that is scored by itself too, as `<split>_<subset>`."""
    group: str | None = None
    """Examples that a metric scores together share a group: the answers of one question (`Metric.grouped`)."""


@dataclass(frozen=True)
class TextToText:
    """`source` goes into the model, `target` is what it must generate (no special tokens in either)."""

    source: str
    target: str
    asked: bool = False
    """The source is a text prompt that ends in what is asked: too long, it loses its beginning, and a decoder-only
    model goes on where it ends, without a separator."""


@dataclass(frozen=True)
class Pair:
    """One or two segments and a class id: `[CLS] first [SEP] second [SEP]`."""

    first: str
    second: str | None
    label: int
    classes: tuple[int, int] | None = None
    """First class id and one past the last of the example's own data set, where one head serves several."""


@dataclass(frozen=True)
class Choice:
    """Several pairs of which one is right; `label` is its index."""

    pairs: tuple[tuple[str, str | None], ...]
    label: int


@dataclass(frozen=True)
class Ranking:
    """Candidates, each a pair with a class id of its own (1: right, -1: unlabelled). Every one is trained on by itself;
    the answer is the one with the highest logit of class 1."""

    pairs: tuple[tuple[str, str | None], ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Tagged:
    """Words and one tag id a word."""

    words: tuple[str, ...]
    tags: tuple[int | None, ...]
    """None: a gold tag that the task's labels lack. It carries no loss, and cannot be predicted."""
    classes: tuple[int, int] | None = None
    """As in `Pair`, of tag ids."""
    behind: tuple[str, ...] = ()
    """Words that the model reads after these, without tags (semantic roles: a mark and the predicate)."""


@dataclass(frozen=True)
class Cloze:
    """A text with a gap: pieces in order, a string, a number of prompt rows, or None for the mask token; a class id."""

    pieces: tuple[str | int | None, ...]
    label: int
    token: str | None = None
    """What fills the gap, in place of a class: a token of the task's vocabulary, any of which may."""


@dataclass(frozen=True)
class Span:
    """A question whose answer is a piece of the context: `[CLS] question [SEP] window of the context [SEP]`."""

    question: str
    context: str
    answer: tuple[int, int] | None
    """First character of the answer in `context` and one past its last; None: it has no answer."""
    classes: tuple[int, int] | None = None
    """First output of the head and one past the last that are this data set's own, where one head serves several."""


@dataclass(frozen=True)
class SpanAnswer:
    """What a model says to a `Span`, over all windows of the context."""

    place: tuple[int, int] | None
    """First character of the best piece of the context and one past its last; None: no piece was possible."""
    null_odds: float
    """Score of "no answer" minus the score of the best piece (sums of start and end logits)."""


Rendered = TextToText | Pair | Choice | Ranking | Tagged | Span | Cloze


class Task(Protocol):
    """A data set in one format, with its metrics. Built from `conf/task/*.yaml` by `_target_`."""

    name: str
    format: str
    labels: tuple[str, ...]
    """Class names or tag names, index = id. Empty for free generation."""
    metrics: tuple[Metric, ...]

    @property
    def deviations(self) -> tuple[str, ...]:
        """Known differences from the paper, as configured and as found in the splits read so far: for the record."""
        ...

    inputs: tuple[str, ...]
    """Fields that an unlabelled example must have (`repro predict`). A task may have `blank(fields)`, the reference of
    an unlabelled example, and `hidden`, fields that such an example has with these values."""

    def examples(self, split: str) -> Sequence[Example]:
        """All examples of `train`, `validation` or `test`, in file order.

        Raises:
            DataError: the folder or file is missing, or a line is malformed (file and line are named).
        """
        ...

    def render(self, example: Example) -> Rendered:
        """The example in this task's `format`, exactly as the paper's code shows it to the model."""
        ...

    def parse(self, output: Any, example: Example) -> Any:
        """Model output to the prediction that the metrics take: a string, class id, choice index or list of tag ids; of
        a ranking the score of each candidate."""
        ...

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        """`{split: {"rows": n, "sha256": hash of the content}}` of every split that was read so far."""
        ...
