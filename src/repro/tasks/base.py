"""The nouns of a task: an example, the formats in which a model can see it, and the Task protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, TypedDict

from repro.config.task_schema import LowData, SplitLimits
from repro.errors import ConfigError
from repro.metrics.base import AnyMetric

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


@dataclass(frozen=True)
class TaskSection:
    """What every kind of task is told, whatever its own options: a task's config, in one format and with its parts."""

    name: str
    format: str
    metrics: Sequence[AnyMetric] = ()
    also_metrics: Sequence[AnyMetric] = ()
    labels: Sequence[str] = ()
    source: str = "local"
    data_dir: str = ""
    hub_id: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    check_rows: bool = True
    limit: SplitLimits = field(default_factory=SplitLimits)
    low_data: LowData = field(default_factory=LowData)
    fraction: float | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """`task.options.files`: {split: file name}, where it is not the kind's."""
    obtain: str | None = None
    """`task.options.obtain`: a sentence saying where the files can be had, in place of the kind's."""
    hub_configs: Mapping[str, str] = field(default_factory=dict)
    """`task.options.hub_configs`: {format: the config of the hub's data set}."""
    parts: Mapping[str, Task] = field(default_factory=dict)
    """Tasks of the same format that this one is made of."""


class SplitFacts(TypedDict):
    """What identifies the content of a split."""

    rows: int
    sha256: str


class Task:
    """A data set in one format, with its metrics. `repro.tasks.registry` builds it from a file of conf/task.

    A kind of task is a subclass. What it does not say has the defaults given here; nothing else may be asked of a task.
    """

    formats: ClassVar[tuple[str, ...]]
    """The formats that this kind can be rendered in."""
    answers_with_labels: ClassVar[bool] = True
    """As text, what is generated is one of the labels (if there are any)."""
    shared_options: ClassVar[tuple[str, ...]] = ()
    """Keys of `task.options` that are fields of `TaskSection`; all others are keywords of the kind's constructor."""
    cloze_deviation: ClassVar[str] = "cloze template and words are ours: the papers' notes have none for this task"
    """Where the template of `task.cloze` comes from, unless `task.cloze_source` says so."""
    sample_fields: ClassVar[Mapping[str, object]] = MappingProxyType({})
    """Values for a made-up row, of the fields that cannot hold their own name."""

    name: str = ""
    format: str = ""
    metrics: tuple[AnyMetric, ...] = ()
    """What the task is scored by."""
    also_metrics: tuple[AnyMetric, ...] = ()
    """Metrics beside these, which have no part in the task's score."""
    parts: Mapping[str, Task] = MappingProxyType({})
    """The tasks of a mixture: each is scored by its own metrics, over its own examples (`Example.meta["part"]`)."""
    one_part_batches: bool = False
    """A training batch holds examples of one part only."""
    inputs: tuple[str, ...] = ()
    """Fields that an unlabelled example must have (`repro predict`)."""
    hidden: Mapping[str, object] = MappingProxyType({})
    """Fields that such an example has with these values, beside its inputs."""
    prefix: str = ""
    """What stands in front of a text for the task's name, as in T5's mixtures; empty: the name itself."""
    needed: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """{split: paths of the local files that it is read from, or patterns of them}, whether or not they are there."""
    obtain: str = ""
    """A sentence saying where the files can be had."""
    sha256: Mapping[str, str] = MappingProxyType({})
    """{split: first digits of the original's content hash}, where the config states it."""

    def __init__(self, section: TaskSection) -> None:
        """Nothing is read here.

        Raises:
            ConfigError: a format that this kind does not have.
        """
        if section.format not in self.formats:
            raise ConfigError(
                f"task.format is {section.format!r}: it must be one of {list(self.formats)} ({section.name})."
            )
        self.name, self.format = section.name, section.format
        self.metrics, self.also_metrics = tuple(section.metrics), tuple(section.also_metrics)
        self.sha256, self._labels = section.sha256, tuple(section.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names or tag names, index = id. Empty for free generation."""
        return self._labels

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens that may fill a gap, where a cloze has no classes."""
        return ()

    @property
    def deviations(self) -> tuple[str, ...]:
        """Known differences from the paper, as configured and as found in the splits read so far: for the record."""
        return ()

    def examples(self, split: str) -> Sequence[Example]:
        """All examples of `train`, `validation` or `test`, in file order.

        Raises:
            DataError: the folder or file is missing, or a line is malformed (file and line are named).
        """
        raise NotImplementedError

    def render(self, example: Example) -> Rendered:
        """The example in this task's `format`, exactly as the paper's code shows it to the model."""
        raise NotImplementedError

    def parse(self, output: Any, example: Example) -> Any:
        """Model output to the prediction that the metrics take: a string, class id, choice index or list of tag ids; of
        a ranking the score of each candidate."""
        raise NotImplementedError

    def blank(self, fields: Mapping[str, Any]) -> tuple[Any, ...]:
        """The references of an example that nobody has labelled."""
        return ()

    def fingerprint(self) -> dict[str, SplitFacts]:
        """`{split: {"rows": n, "sha256": hash of the content}}` of every split that was read so far."""
        return {}


class TaskOfParts(Task):
    """A kind whose tasks are made of others (`TaskSection.parts`)."""

    @classmethod
    def part_limit(cls, part: str, options: Mapping[str, object], limit: SplitLimits) -> SplitLimits:
        """The limits of a part that has none of its own, from the whole's options and limits."""
        return limit


def every_metric(task: Task) -> tuple[AnyMetric, ...]:
    """A task's metrics and those beside them."""
    return (*task.metrics, *task.also_metrics)


def batch_groups(task: Task, examples: Sequence[Example]) -> list[int] | None:
    """The number of each example's part, where a training batch may hold examples of one part only."""
    if not task.one_part_batches:
        return None
    numbers = {part: number for number, part in enumerate(task.parts)}
    return [numbers[example.meta["part"]] for example in examples]
