"""Train on one data set, test on another of the same kind: MRPC and QQP (Lester et al. 2021, section 5, Table 2).

The checkpoint is chosen on the first one's validation split; the second one's validation split is reported, here as
`test`. The second data set's own words for its classes were never trained, so what is generated is translated into them
before it is read (papers/lester2021 section (b), T2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from repro.errors import ConfigError
from repro.tasks.base import Example, Rendered
from repro.tasks.files import checked_options, require_one_of

OPTIONS = ("train", "test", "words")
PARTS = ("train", "validation", "test")


class Transfer:
    """`train` and `validation` of one part, and as `test` the other part's `validation`.

    `task.options`:
        train, test: the names of the two parts.
        words: {word of the trained data set: word of the other}; each is replaced wherever it stands in a generated
            text that answers a test example. In the head formats class ids are taken as they are.
    """

    formats = ("text_to_text", "pair")

    def __init__(
        self,
        name: str,
        format: str,
        parts: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        metrics: Any = (),
    ):
        """`parts` are tasks of one format, already built; nothing is read here.

        Raises:
            ConfigError: an unknown option, other than two parts, or parts with another number of classes.
        """
        chosen = checked_options(options, OPTIONS)
        require_one_of("task.format", format, self.formats)
        if len(parts) != 2:
            raise ConfigError(f"task.parts of {name} names {list(parts) or 'nothing'}: a transfer has two.")
        for key in ("train", "test"):
            require_one_of(f"task.options.{key}", chosen.get(key), parts)
        if chosen["train"] == chosen["test"]:
            raise ConfigError(f"task.options.test={chosen['test']} is what is trained on: name the other part.")
        self.name, self.format, self.metrics = name, format, tuple(metrics)
        self._names = {"train": chosen["train"], "validation": chosen["train"], "test": chosen["test"]}
        self._trained, self._tested = parts[chosen["train"]], parts[chosen["test"]]
        self._words = dict(chosen.get("words") or {})
        if len(self._trained.labels) != len(self._tested.labels):
            raise ConfigError(
                f"task.parts of {name} have the classes {list(self._trained.labels)} and {list(self._tested.labels)}: "
                "a transfer needs as many in both, in the same order."
            )
        self.labels: tuple[str, ...] = tuple(self._trained.labels)
        self.inputs: tuple[str, ...] = tuple(self._trained.inputs)

    @staticmethod
    def part_limit(part: str, options: Mapping[str, Any], limit: Mapping[str, Any]) -> Mapping[str, Any]:
        """The limits of a part: the whole's limit on `test` is one on the other data set's `validation`."""
        return {**limit, "train": None, "validation": limit.get("test")} if part == options.get("test") else limit

    def _of(self, example: Example) -> Any:
        return self._tested if example.meta.get("part") == "test" else self._trained

    def examples(self, split: str) -> tuple[Example, ...]:
        """The trained part's examples, or as `test` the other's `validation`, which ids and clusters then say.

        Raises:
            ConfigError: no such split.
        """
        require_one_of("a split", split, PARTS)
        if split != "test":
            return tuple(self._trained.examples(split))
        other = self._names["test"]
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

    def parse(self, output: Any, example: Example) -> Any:
        """As its own data set parses it, a generated answer to a test example once it is translated."""
        if self.format == "text_to_text" and self._of(example) is self._tested:
            output = str(output)
            for word, other in self._words.items():
                output = output.replace(word, other)
        return self._of(example).parse(output, example)

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        """`{data set/split: {"rows", "sha256"}}` of what was read so far."""
        both = ((self._names["train"], self._trained), (self._names["test"], self._tested))
        return {f"{name}/{split}": facts for name, part in both for split, facts in part.fingerprint().items()}

    @property
    def deviations(self) -> tuple[str, ...]:
        """Those of both parts, each with its name."""
        both = ((self._names["train"], self._trained), (self._names["test"], self._tested))
        return tuple(f"{name}: {said}" for name, part in both for said in part.deviations)
