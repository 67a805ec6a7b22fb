"""RoBERTa: as BERT, but position ids start at padding index + 1 (so 512 of the table's 514 rows serve tokens)."""

from __future__ import annotations

from dataclasses import replace

from repro.models.bert import FAMILY as BERT

FAMILY = replace(BERT, name="roberta", lm_head=lambda whole: whole.lm_head)
