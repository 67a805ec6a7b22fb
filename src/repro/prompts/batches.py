"""Decoding with several trained prompts in one batch: each row of it takes its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from repro.methods.base import Injection
from repro.models.base import ModelAdapter
from repro.models.batch import Encoded, collate


@torch.no_grad()
def outputs(
    adapter: ModelAdapter,
    units: Sequence[Sequence[Encoded]],
    rows: Sequence[int],
    injection: Injection,
    decoding: Mapping[str, Any],
    batch_size: int,
) -> list[Any]:
    """What the model says to each unit, in order.

    Args:
        units: the sequences of each example (several where it has choices), all of one form.
        rows: which prompt (index on axis K) each unit takes.
    """
    order = sorted(range(len(units)), key=lambda i: (len(units[i]), -max(len(item.ids) for item in units[i])))
    said: list[Any] = [None] * len(units)
    backbone = adapter.backbone
    while order:
        choices = len(units[order[0]])
        chosen = [index for index in order[:batch_size] if len(units[index]) == choices]
        order = order[len(chosen) :]
        items = [item for index in chosen for item in units[index]]
        trials = [rows[index] for index in chosen for _ in units[index]]
        batch = collate(items, backbone.tokenizer.pad_token_id, trials, left=adapter.pad_left, choices=choices)
        for index, output in zip(chosen, adapter.predict(batch.to(backbone.device), injection, decoding), strict=True):
            said[index] = output
    return said
