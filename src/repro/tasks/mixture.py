"""Several tasks as one: multi-task model tuning (Lester et al. 2021, footnote 4), and prompts trained on all data sets
of a kind before they are tuned on each (MPT-2: Liu et al. 2022, Table 3).

The rows of all parts form one training set whose order is drawn anew every epoch: each part is seen in proportion to
its size. An encoder gets one linear layer over the classes of all parts (start and end of each, for questions); a row's
softmax runs over the classes of its own part alone, which is the same as one layer a data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from repro.errors import ConfigError
from repro.metrics.base import TASK_SCORE, Metric, averaged_values
from repro.tasks.base import (
    Example,
    Pair,
    Rendered,
    Span,
    SplitFacts,
    Tagged,
    Task,
    TaskOfParts,
    TaskSection,
    every_metric,
)
from repro.tasks.files import require_one_of
from repro.tasks.registry import register

AVERAGE = "average"
"""Mean over the parts of each part's score, the mean of its main values: over SuperGLUE's eight tasks their score."""


class PartsScore(Metric[object, object]):
    """The values of a mixture, which `evaluation.score` makes of the parts' own metrics; no rule of its own."""

    name = AVERAGE
    equals = "the mean over the parts of the mean of each part's main values"

    def __init__(self, outputs: tuple[str, ...]):
        self.outputs = outputs


@register("mixture")
class Mixture(TaskOfParts):
    """The examples of several tasks, each rendered, parsed and scored by its own.

    `task.options`:
        deviations: sentences for the record (data sets of the paper that are not among the parts, say).
        one_dataset_batches: every training batch holds rows of one part (P-Tuning v2's multi-task training).
        stride, n_best, max_answer_tokens: span: as the parts have them (`repro.config.task_rules` compares).
    """

    formats = ("text_to_text", "pair", "tagging", "span")

    def __init__(
        self,
        section: TaskSection,
        *,
        deviations: Sequence[str] = (),
        one_dataset_batches: bool = False,
        stride: int | None = None,
        n_best: int | None = None,
        max_answer_tokens: int | None = None,
    ):
        """Raises ConfigError: fewer than two parts, or parts of another format."""
        super().__init__(section)
        self.parts, self._deviations = dict(section.parts), tuple(deviations)
        if len(self.parts) < 2:
            raise ConfigError(
                f"task.parts of {self.name} names {list(self.parts) or 'nothing'}: a mixture needs two or more."
            )
        for part, task in self.parts.items():
            require_one_of(f"the format of task.parts.{part}", task.format, (self.format,))
        self.one_part_batches = one_dataset_batches
        self.label_spans: dict[str, tuple[int, int]] = {}
        """First class and one past the last of each part."""
        total = 0
        for part, task in self.parts.items():
            outputs = 2 if self.format == "span" else len(task.labels)
            self.label_spans[part] = (total, total + outputs)
            total += outputs
        values = [f"{part}.{value}" for part, task in self.parts.items() for value in _values(task)]
        self.metrics = (PartsScore((AVERAGE, *values)),)

    @property
    def labels(self) -> tuple[str, ...]:
        """For a head: the classes of all parts in turn. For text: each label once."""
        every = [label for task in self.parts.values() for label in task.labels]
        return tuple(dict.fromkeys(every)) if self.format == "text_to_text" else tuple(every)

    def part_of(self, example: Example) -> str:
        """The name of the part that an example comes from."""
        return str(example.meta["part"])

    def examples(self, split: str) -> tuple[Example, ...]:
        """The parts' examples one after the other; ids and clusters say the part."""
        return tuple(
            replace(
                example,
                id=f"{part}/{example.id}",
                cluster=None if example.cluster is None else f"{part}/{example.cluster}",
                meta={**example.meta, "part": part},
            )
            for part, task in self.parts.items()
            for example in task.examples(split)
        )

    def render(self, example: Example) -> Rendered:
        """As the part renders it; classes are numbered on over the parts."""
        part = self.part_of(example)
        rendered, (first, end) = self.parts[part].render(example), self.label_spans[part]
        if isinstance(rendered, Pair):
            label = rendered.label + first if rendered.label >= 0 else rendered.label
            return replace(rendered, label=label, classes=(first, end))
        if isinstance(rendered, Span):
            return replace(rendered, classes=(first, end))
        if isinstance(rendered, Tagged):
            tags = tuple(None if tag is None else tag + first for tag in rendered.tags)
            return replace(rendered, tags=tags, classes=(first, end))
        return rendered

    def parse(self, output: Any, example: Example) -> Any:
        """As the part parses it."""
        part = self.part_of(example)
        first = self.label_spans[part][0]
        if self.format == "pair":
            output = int(output) - first
        elif self.format == "tagging":
            output = [int(tag) - first for tag in output]
        return self.parts[part].parse(output, example)

    def fingerprint(self) -> dict[str, SplitFacts]:
        """`{split: {"rows", "sha256"}}` of each part, its name before the split's: `rte/train`."""
        return {
            f"{part}/{split}": facts for part, task in self.parts.items() for split, facts in task.fingerprint().items()
        }

    @property
    def deviations(self) -> tuple[str, ...]:
        """The mixture's own, then each part's."""
        of_parts = [f"{part}: {sentence}" for part, task in self.parts.items() for sentence in task.deviations]
        return (*self._deviations, *of_parts)


def _values(task: Task) -> list[str]:
    """Names of the values that scoring one part gives."""
    names = [name for metric in every_metric(task) for name in metric.outputs]
    return names + [TASK_SCORE] * bool(averaged_values(task.metrics))
