"""F1 of semantic roles by the rules of the CoNLL-2005 shared task, apart from P-Tuning v2's own number (`span_f1`)."""

from __future__ import annotations

from collections.abc import Sequence

from repro.metrics.registry import register
from repro.metrics.spans import SpanCounts, spans

Argument = tuple[str, tuple[tuple[int, int], ...]]
"""Role, and the pieces (first token, last token) that play it, in order."""

VERB, CONTINUES = "V", "C-"


def arguments(tags: Sequence[str]) -> set[Argument]:
    """The arguments of one proposition, the verb itself left out.

    A span `C-X` is a further piece of the last argument X before it, so that both are one argument, right only as a
    whole; without an X before it, it is an argument X of its own. `C-V` belongs to the verb. `R-X` is a role like any
    other.

    Args:
        tags: one tag a token, read as `span_f1` reads them.

    Raises:
        ValueError: a tag that is none.
    """
    found: list[Argument] = []
    last: dict[str, int] = {}
    for kind, first, end in sorted(spans(tags), key=lambda span: span[1]):
        role = kind.removeprefix(CONTINUES)
        if role != kind and role in last:
            found[last[role]] = (role, (*found[last[role]][1], (first, end)))
            continue
        last[role] = len(found)
        found.append((role, ((first, end),)))
    return {argument for argument in found if argument[0] != VERB}


@register("srl_f1_conll05")
class SrlF1(SpanCounts):
    """Precision, recall and F1 in percent over the arguments of all propositions, as the SRL literature reports them.

    P-Tuning v2 (Liu et al. 2022, Table 3) reports `span_f1` instead, where the verb counts (it is given, and nearly
    always tagged right) and `C-X` is a role of its own: the two must not be compared.
    """

    name = "srl_f1_conll05"
    equals = "srl-eval.pl of CoNLL-2005, line Overall"
    outputs = ("srl_f1_conll05", "srl_precision_conll05", "srl_recall_conll05")
    read = staticmethod(arguments)
