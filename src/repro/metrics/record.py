"""F1 and exact match of ReCoRD."""

from __future__ import annotations

from repro.metrics.registry import register
from repro.metrics.squad import SquadEmF1


@register("record")
class RecordF1Em(SquadEmF1):
    """SQuAD's token F1 and exact match of the answer, each the highest over the gold answers, one row a query.

    Prompt tuning (Lester et al. 2021) reports and averages both; P-Tuning v2 (Liu et al. 2022) reports the F1.
    """

    name = "record"
    equals = (
        "T5 evaluation.metrics.deduplicate_metric(squad), whose rules are those of SQuAD's evaluate-v1.1.py; "
        "evaluate 0.4.6 super_glue/record, times 100"
    )
    main = SquadEmF1.outputs
