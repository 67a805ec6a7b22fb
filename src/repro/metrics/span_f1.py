"""F1 of labelled spans, as seqeval reads tags by default: named entities and semantic roles in P-Tuning v2."""

from __future__ import annotations

from repro.metrics.registry import register
from repro.metrics.spans import SpanCounts, spans


@register("span_f1")
class SpanF1(SpanCounts):
    """Precision, recall and F1 in percent over the spans of all sentences; a span counts if type and both ends agree.

    P-Tuning v2 (Liu et al. 2022) scores named entities and semantic roles with seqeval in its default mode. In SRL,
    `C-X` and `R-X` are types of their own and `V` is a span like others, unlike in the CoNLL-2005 script. A value whose
    denominator is 0 is 0.
    """

    name = "span_f1"
    equals = "seqeval 1.2.2, default mode"
    outputs = ("span_f1", "span_precision", "span_recall")
    read = staticmethod(spans)
