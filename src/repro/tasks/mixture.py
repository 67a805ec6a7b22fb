"""Several tasks as one: multi-task model tuning (Lester et al. 2021, footnote 4), and prompts trained on all data sets
of a kind before they are tuned on each (MPT-2: Liu et al. 2022, Table 3).

The rows of all parts form one training set whose order is drawn anew every epoch: each part is seen in proportion to
its size. An encoder gets one linear layer over the classes of all parts (start and end of each, for questions); a row's
softmax runs over the classes of its own part alone, which is the same as one layer a data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from repro.errors import ConfigError
from repro.metrics.base import TASK_SCORE, averaged_values
from repro.tasks.base import Example, Pair, Rendered, Span, Tagged
from repro.tasks.files import checked_options, require_one_of

SPAN_OPTIONS = ("stride", "n_best", "max_answer_tokens")
"""Options of questions that rows of one batch share."""
AVERAGE = "average"
"""Mean over the parts of each part's score, the mean of its main values: over SuperGLUE's eight tasks their score."""


@dataclass(frozen=True)
class PartsScore:
    """The values of a mixture, which `evaluation.score` makes of the parts' own metrics; no rule of its own."""

    name: str
    outputs: tuple[str, ...]
    """The average, then `<part>.<value>`."""
    higher_is_better: bool = True


class Mixture:
    """The examples of several tasks, each rendered, parsed and scored by its own.

    `task.options`:
        deviations: sentences for the record (data sets of the paper that are not among the parts, say).
        one_dataset_batches: every training batch holds rows of one part (P-Tuning v2's multi-task training).
        stride, n_best, max_answer_tokens: span: as the parts have them (`repro.config.task_rules` compares).
    """

    formats = ("text_to_text", "pair", "tagging", "span")

    def __init__(self, name: str, format: str, parts: Mapping[str, Any], options: Mapping[str, Any] | None = None):
        """`parts` are tasks of one format, already built; nothing is read here.

        Raises:
            ConfigError: fewer than two parts, parts of another format, or an unknown option.
        """
        chosen = checked_options(options, ("deviations", "one_dataset_batches", *SPAN_OPTIONS))
        require_one_of("task.format", format, self.formats)
        if len(parts) < 2:
            raise ConfigError(f"task.parts of {name} names {list(parts) or 'nothing'}: a mixture needs two or more.")
        for part, task in parts.items():
            require_one_of(f"the format of task.parts.{part}", task.format, (format,))
        self.name, self.format, self.parts = name, format, dict(parts)
        self.one_dataset_batches = bool(chosen.get("one_dataset_batches", False))
        self._said = tuple(chosen.get("deviations") or ())
        ends, total = {}, 0
        for part, task in parts.items():
            outputs = 2 if format == "span" else len(task.labels)
            ends[part] = (total, total + outputs)
            total += outputs
        self.label_spans: dict[str, tuple[int, int]] = ends
        """First class and one past the last of each part."""

    @property
    def labels(self) -> tuple[str, ...]:
        """For a head: the classes of all parts in turn. For text: each label once."""
        every = [label for task in self.parts.values() for label in task.labels]
        return tuple(dict.fromkeys(every)) if self.format == "text_to_text" else tuple(every)

    @property
    def metrics(self) -> tuple[PartsScore, ...]:
        """One entry that names the values; the scoring is the parts' business."""
        own = [f"{part}.{out}" for part, task in self.parts.items() for out in _values(task)]
        return (PartsScore(AVERAGE, (AVERAGE, *own)),)

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

    inputs: tuple[str, ...] = ()

    def parse(self, output: Any, example: Example) -> Any:
        """As the part parses it."""
        part = self.part_of(example)
        first = self.label_spans[part][0]
        if self.format == "pair":
            output = int(output) - first
        elif self.format == "tagging":
            output = [int(tag) - first for tag in output]
        return self.parts[part].parse(output, example)

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        """`{split: {"rows", "sha256"}}` of each part, its name before the split's: `rte/train`."""
        return {
            f"{part}/{split}": facts for part, task in self.parts.items() for split, facts in task.fingerprint().items()
        }

    @property
    def deviations(self) -> tuple[str, ...]:
        """The mixture's own, then each part's."""
        own = [f"{part}: {said}" for part, task in self.parts.items() for said in task.deviations]
        return (*self._said, *own)


def _values(task: Any) -> list[str]:
    """Names of the values that scoring one part gives."""
    names = [name for metric in task.metrics for name in metric.outputs]
    return names + [TASK_SCORE] * bool(averaged_values(task.metrics))


def groups(task: Any, examples: Sequence[Example]) -> list[int] | None:
    """The number of each example's part where a batch may hold one part only; None for any other task."""
    if not getattr(task, "one_dataset_batches", False):
        return None
    numbers = {part: number for number, part in enumerate(task.parts)}
    return [numbers[task.part_of(example)] for example in examples]
