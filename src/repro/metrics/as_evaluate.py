"""Each of our metrics as a metric of the `evaluate` library, for code that expects one.

`load("e2e_bleu")` gives an `evaluate.Metric`: `add`, `add_batch`, `compute(predictions=..., references=...)`. The
library takes seconds to import, and is imported when `load` is called, not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from repro.metrics.registry import metric

Feature: TypeAlias = "str | list[Feature] | Mapping[str, Feature]"
KINDS: Mapping[str, Feature] = {
    "text": "string",
    "label": "int64",
    "labels": ["int64"],
    "tags": ["string"],
    "answer": {"text": "string", "answer": "string", "null_odds": "float64"},
}
"""{`Metric.predictions`: its type, a list or a mapping of types}; references to an answer are strings."""


def load(name: str, **options: object) -> object:
    """An `evaluate.Metric` that computes our metric.

    References are a list an example (of strings, class ids or tag lists), as `evaluate`'s sacrebleu takes them.

    Args:
        name: a registered name.
        options: of our metric (`classes=3` for f1_macro).

    Raises:
        ConfigError: no such metric or option.
    """
    ours = metric(name, **options)
    import datasets
    import evaluate

    def feature(written: Feature) -> object:
        if isinstance(written, Mapping):
            return {name: feature(part) for name, part in written.items()}
        return datasets.Sequence(feature(written[0])) if isinstance(written, list) else datasets.Value(written)

    output = feature(KINDS[ours.predictions])
    gold = feature(KINDS["text" if ours.predictions == "answer" else ours.predictions])

    class Ours(evaluate.Metric):  # type: ignore[misc]
        """One of ours behind `evaluate`'s interface."""

        def _info(self) -> object:
            return evaluate.MetricInfo(
                description=f"{ours.name} of repro. Equal to: {ours.equals}.",
                citation="",
                inputs_description="predictions: one an example; references: a list an example.",
                features=datasets.Features({"predictions": output, "references": datasets.Sequence(gold)}),
            )

        def _compute(self, predictions: Sequence[object], references: Sequence[Sequence[object]]) -> dict[str, float]:
            return ours.score_split(predictions, references)[0]

    Ours.__module__ = __name__
    return Ours(config_name=name, experiment_id=f"repro-{name}")
