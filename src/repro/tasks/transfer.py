"""Train on one data set, test on another of the same kind: MRPC and QQP (Lester et al. 2021, section 5, Table 2).

The checkpoint is chosen on the first one's validation split; the second one's validation split is reported, here as
`test`. The second data set's own words for its classes were never trained, so what is generated is translated into them
before it is read (papers/lester2021 section (b), T2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from repro.config.task_schema import SplitLimits
from repro.errors import ConfigError
from repro.tasks.base import SPLITS, Example, Rendered, SplitFacts, Task, TaskOfParts, TaskSection
from repro.tasks.files import require_one_of
from repro.tasks.registry import register


@register("transfer")
class Transfer(TaskOfParts):
    """`train` and `validation` of one part, and as `test` the other part's `validation`.

    `task.options`:
        train, test: the names of the two parts.
        words: {word of the trained data set: word of the other}; each is replaced wherever it stands in a generated
            text that answers a test example. In the head formats class ids are taken as they are.
    """

    formats = ("text_to_text", "pair")

    def __init__(self, section: TaskSection, *, train: str, test: str, words: Mapping[str, str] | None = None):
        """Raises ConfigError: other than two parts, or parts with another number of classes."""
        super().__init__(section)
        tasks = section.parts
        if len(tasks) != 2:
            raise ConfigError(f"task.parts of {self.name} names {list(tasks) or 'nothing'}: a transfer has two.")
        for key, part in (("train", train), ("test", test)):
            require_one_of(f"task.options.{key}", part, tasks)
        if train == test:
            raise ConfigError(f"task.options.test={test} is what is trained on: name the other part.")
        self._tested_name, self._words = test, dict(words or {})
        self._trained, self._tested = tasks[train], tasks[test]
        self._named = ((train, self._trained), (test, self._tested))
        if len(self._trained.labels) != len(self._tested.labels):
            raise ConfigError(
                f"task.parts of {self.name} have the classes {list(self._trained.labels)} and "
                f"{list(self._tested.labels)}: a transfer needs as many in both, in the same order."
            )
        self._labels, self.inputs = tuple(self._trained.labels), self._trained.inputs

    @classmethod
    def part_limit(cls, part: str, options: Mapping[str, object], limit: SplitLimits) -> SplitLimits:
        """The whole's limit on `test` is one on the other data set's `validation`."""
        return replace(limit, train=None, validation=limit.test) if part == options.get("test") else limit

    def _of(self, example: Example) -> Task:
        return self._tested if example.meta.get("part") == "test" else self._trained

    def examples(self, split: str) -> tuple[Example, ...]:
        """The trained part's examples, or as `test` the other's `validation`, which ids and clusters then say.

        Raises:
            ConfigError: no such split.
        """
        require_one_of("a split", split, SPLITS)
        if split != "test":
            return tuple(self._trained.examples(split))
        other = self._tested_name
        return tuple(
            replace(
                example,
                id=f"{other}/{example.id}",
                cluster=None if example.cluster is None else f"{other}/{example.cluster}",
                meta={**example.meta, "part": "test"},
            )
            for example in self._tested.examples("validation")
        )

    def render(self, example: Example) -> Rendered:
        """As its own data set renders it."""
        return self._of(example).render(example)

    def parse(self, output: object, example: Example) -> object:
        """As its own data set parses it, a generated answer to a test example once it is translated."""
        if self.format == "text_to_text" and self._of(example) is self._tested:
            output = str(output)
            for word, other in self._words.items():
                output = output.replace(word, other)
        return self._of(example).parse(output, example)

    def fingerprint(self) -> dict[str, SplitFacts]:
        """`{data set/split: {"rows", "sha256"}}` of what was read so far."""
        return {f"{name}/{split}": facts for name, part in self._named for split, facts in part.fingerprint().items()}

    @property
    def deviations(self) -> tuple[str, ...]:
        """Those of both parts, each with its name."""
        return tuple(f"{name}: {sentence}" for name, part in self._named for sentence in part.deviations)
