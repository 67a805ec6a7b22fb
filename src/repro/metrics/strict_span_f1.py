"""F1 of labelled spans, as strict IOB2 reads tags."""

from __future__ import annotations

from collections.abc import Sequence

from repro.errors import ConfigError
from repro.metrics.registry import register
from repro.metrics.spans import SpanCounts, spans, split_tag


def strict_spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The spans that strict IOB2 reads, as (type, first token, last token): B-, then I- of the same type.

    Raises:
        ValueError: a tag that is none, or that IOB2 does not have.
    """
    read: list[tuple[str, int, int]] = []
    open_type: str | None = None
    for position, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        if prefix in "ES":
            raise ValueError(f"strict_span_f1: {tag!r} is no tag of IOB2, which has O, B- and I-.")
        if prefix == "B":
            read.append((kind, position, position))
            open_type = kind
        elif prefix == "I" and kind == open_type:
            read[-1] = (kind, read[-1][1], position)
        else:
            open_type = None
    return set(read)


@register("strict_span_f1")
class StrictSpanF1(SpanCounts):
    """As `SpanF1`, but a span must be tagged as IOB2 demands: a B-, then I- of the same type.

    No paper here reports it. It shows what the default mode forgives: an I- without a B- before it names no span, in
    the prediction and in the gold tags alike. Data tagged in IOB1 (CoNLL03's own files) must be rewritten first
    (`task.options.scheme=IOB2`).
    """

    name = "strict_span_f1"
    equals = "seqeval 1.2.2, mode='strict', scheme=IOB2"
    outputs = ("strict_span_f1", "strict_span_precision", "strict_span_recall")
    read = staticmethod(strict_spans)

    def check_answers(self, references: Sequence[Sequence[Sequence[str]]]) -> None:
        """Refuse gold tags of another scheme than IOB2, in which spans would be lost without a word."""
        for tags in (tags for golds in references for tags in golds):
            try:
                lost = spans(tags) - strict_spans(tags)
            except ValueError as error:
                raise ConfigError(f"task.metrics: {error} Use span_f1, which reads every scheme.") from error
            if lost:
                kind, first, _ = min(lost, key=lambda span: span[1])
                raise ConfigError(
                    f"task.metrics: strict_span_f1 does not count the span {kind} at word {first + 1} of the gold tags "
                    f"{' '.join(tags)}: IOB2 begins a span with B-. Set task.options.scheme=IOB2, which rewrites the "
                    "tags, or use span_f1, which reads every scheme."
                )
