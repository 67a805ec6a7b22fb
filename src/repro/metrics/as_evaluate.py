"""Each of our metrics as a metric of the `evaluate` library, for code that expects one.

`load("e2e_bleu")` gives an `evaluate.Metric`: `add`, `add_batch`, `compute(predictions=..., references=...)`. The
library takes seconds to import, and is imported when `load` is called, not before.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Sequence
from typing import Any

from repro.errors import ConfigError
from repro.metrics.base import score_split

METRICS: dict[str, tuple[str, dict[str, Any], str]] = {
    "accuracy": ("accuracy.Accuracy", {}, "label"),
    "f1": ("binary_f1.BinaryF1", {}, "label"),
    "macro_f1": ("macro_f1.MacroF1", {}, "label"),
    "multirc": ("multirc.MultircF1aEm", {}, "labels"),
    "record": ("record.RecordF1Em", {}, "text"),
    "span_f1": ("spans.SpanF1", {}, "tags"),
    "strict_span_f1": ("spans.StrictSpanF1", {}, "tags"),
    "srl_f1_conll05": ("srl.SrlF1", {}, "tags"),
    "squad": ("squad.SquadEmF1", {}, "text"),
    "squad_v2": ("squad.SquadV2EmF1", {}, "text"),
    "squad_v2_tuned": ("squad.SquadV2Tuned", {}, "answer"),
    "precision_at_1": ("precision_at_1.PrecisionAt1", {}, "text"),
    "e2e_bleu": ("bleu.E2EBleu", {}, "text"),
    "e2e_nist": ("nist.Nist", {}, "text"),
    "e2e_meteor": ("meteor.Meteor", {"text": "ptb"}, "text"),
    "e2e_rouge_l": ("coco_rouge.CocoRougeL", {}, "text"),
    "e2e_cider": ("cider.Cider", {}, "text"),
    "multi_bleu": ("multi_bleu.MultiBleu", {}, "text"),
    "webnlg_bleu": ("webnlg_bleu.WebnlgBleu", {}, "text"),
    "webnlg_meteor": ("meteor.Meteor", {"text": "webnlg", "references": 3}, "text"),
    "webnlg_ter": ("ter.Ter", {"text": "webnlg", "references": 3}, "text"),
    "dart_bleu": ("dart_bleu.DartBleu", {}, "text"),
    "dart_meteor": ("meteor.Meteor", {"text": "as_is", "references": 3}, "text"),
    "dart_ter": ("ter.Ter", {"text": "as_is", "references": 3}, "text"),
    "xsum_rouge": ("rouge.Rouge", {}, "text"),
    "xsum_rouge_corpus": ("rouge.CorpusRouge", {}, "text"),
    "bertscore": ("neural.BertScore", {}, "text"),
    "bleurt": ("neural.Bleurt", {}, "text"),
    "moverscore": ("neural.MoverScore", {}, "text"),
}
"""{name: class, arguments, kind of prediction}."""
KINDS: dict[str, Any] = {
    "text": "string",
    "label": "int64",
    "labels": ["int64"],
    "tags": ["string"],
    "answer": {"text": "string", "answer": "string", "null_odds": "float64"},
}
"""{kind of prediction: its type, a list or a mapping of types}: strings; class ids; the class ids of a question's
answers; a sentence's tags; what a span model says of a question that may have no answer (references are strings)."""


def metric(name: str, **arguments: Any) -> Any:
    """Our metric of that name.

    Args:
        name: a key of `METRICS`, or `module.Class` of any other of our metrics (`spans.StrictSpanF1`).
        arguments: of its class.

    Raises:
        ConfigError: no such metric, or arguments that it does not take.
    """
    target, own, _ = METRICS.get(name, (name, {}, "text"))
    made = _class(target)
    if made is None:
        raise ConfigError(
            f"{name!r} is none of our metrics; they are {', '.join(METRICS)}, and `module.Class` of any other."
        )
    accepted = dict(inspect.signature(made).parameters)
    needed = [key for key, one in accepted.items() if one.default is one.empty and key not in own | arguments]
    if needed or set(arguments) - set(accepted):
        raise ConfigError(
            f"{name} takes {', '.join(accepted) or 'no arguments'}; missing: {', '.join(needed) or 'none'}; given: "
            f"{', '.join(arguments) or 'none'}."
        )
    return made(**(own | arguments))


def _class(target: str) -> Any:
    """The class `module.Class` of `repro.metrics`; None if there is no such metric."""
    module, _, kind = target.partition(".")
    if not (module.isidentifier() and kind.isidentifier()):
        return None
    place = f"repro.metrics.{module}"
    found = getattr(importlib.import_module(place), kind, None) if importlib.util.find_spec(place) else None
    return found if hasattr(found, "equals") else None


def load(name: str, predictions: str | None = None, **arguments: Any) -> Any:
    """An `evaluate.Metric` that computes our metric.

    References are a list an example (of strings, class ids or tag lists), as `evaluate`'s sacrebleu takes them.

    Args:
        name: a key of `METRICS`, or `module.Class`.
        predictions: one of `KINDS`; None: what `METRICS` says, else text.
        arguments: of our metric (`classes=3` for macro_f1).

    Raises:
        ConfigError: no such metric, argument or kind of prediction.
    """
    if predictions not in (None, *KINDS):
        raise ConfigError(f"predictions={predictions!r}: allowed are {', '.join(KINDS)}.")
    import datasets
    import evaluate

    ours = metric(name, **arguments)
    kind = predictions or METRICS.get(name, ("", {}, "text"))[2]

    def feature(written: Any) -> Any:
        if isinstance(written, dict):
            return {name: feature(part) for name, part in written.items()}
        return datasets.Sequence(feature(written[0])) if isinstance(written, list) else datasets.Value(written)

    said, gold = feature(KINDS[kind]), feature(KINDS["text" if kind == "answer" else kind])

    class Ours(evaluate.Metric):
        """One of ours behind `evaluate`'s interface."""

        def _info(self) -> Any:
            return evaluate.MetricInfo(
                description=f"{ours.name} of repro. Equal to: {ours.equals}.",
                citation="",
                inputs_description="predictions: one an example; references: a list an example.",
                features=datasets.Features({"predictions": said, "references": datasets.Sequence(gold)}),
            )

        def _compute(self, predictions: Sequence[Any], references: Sequence[Sequence[Any]]) -> dict[str, float]:
            values, _ = score_split(ours, predictions, references)
            return values

    Ours.__module__ = __name__
    return Ours(config_name=name, experiment_id=f"repro-{name}")
