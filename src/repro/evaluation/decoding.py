"""What a model says to the examples of a split, batch by batch, and its loss on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from repro.config.conversion import to_plain
from repro.config.schema import DecodingConfig
from repro.methods.base import Injection
from repro.models.encoding.batch import Encoded, collate
from repro.models.encoding.span_encoding import best_answer, separated
from repro.models.interface import ModelAdapter
from repro.models.threads import side_by_side
from repro.tasks.base import Example, Task, TextToText

EncodeAll = Callable[[Sequence[Example], bool], list[list[Encoded]]]
"""(examples, training?) -> the sequences of each."""


def encoded_by(adapter: ModelAdapter, task: Task) -> EncodeAll:
    """Renders and tokenises, keeping nothing."""
    return lambda examples, training: [adapter.encode(task.render(example), training) for example in examples]


def decoding_settings(
    decoding: DecodingConfig, adapter: ModelAdapter, task: Task, examples: Sequence[Example]
) -> dict[str, object]:
    """Settings for `ModelAdapter.predict` in an evaluation: `length_rule` applied to the split's targets."""
    settings = to_plain(decoding)
    if decoding.length_rule == "longest_target" and task.format == "text_to_text":
        rendered = [task.render(example) for example in examples]
        targets = {example.target for example in rendered if isinstance(example, TextToText)}
        settings["max_new_tokens"] = max(
            len(ids) for ids in adapter.backbone.tokenizer(text_target=sorted(targets))["input_ids"]
        )
    return settings


def predict(
    adapter: ModelAdapter,
    task: Task,
    examples: Sequence[Example],
    injection: Injection,
    decoding: Mapping[str, object],
    batch_size: int,
    between: Callable[[int], None],
    encode: EncodeAll | None = None,
) -> list[object]:
    """One parsed prediction an example, in order; `between` is called after each batch.

    Examples that a generating model cannot tell apart are decoded once (DART has equal triples in several entries).

    Args:
        encode: gives the sequences of the examples; None: they are tokenised here.
    """
    encoded = (encode or encoded_by(adapter, task))(examples, False)
    positions = list(range(len(encoded)))
    if task.format == "text_to_text":
        first: dict[tuple[int, ...], int] = {}  # targets do not matter here
        positions = [first.setdefault(items[0].ids, len(first)) for items in encoded]
        unique = dict(zip(reversed(positions), reversed(encoded), strict=True))
        encoded = [unique[position] for position in range(len(first))]
    outputs = decoded(adapter, encoded, task.format, injection, decoding, batch_size, between=between)
    return [task.parse(outputs[position], example) for position, example in zip(positions, examples, strict=True)]


@torch.no_grad()
def decoded(
    adapter: ModelAdapter,
    encoded: Sequence[Sequence[Encoded]],
    format: str,
    injection: Injection,
    decoding: Mapping[str, Any],
    batch_size: int,
    trials: Sequence[int] | None = None,
    between: Callable[[int], None] = lambda count: None,
) -> list[Any]:
    """The model's output for each example, in order. Batches hold like lengths, and one number of choices.

    The windows of a `span` example may be in several batches: its answer is the best of all. So may the candidates of a
    `ranking`: the output is the score of each, in their order.

    Args:
        encoded: the sequences of each example.
        trials: which prompt (index on axis K) each example takes; None: the first.
    """
    owners = [index for index, items in enumerate(encoded) for _ in separated([items], format)]
    units = separated(encoded, format)
    outputs: list[list[tuple[int, Any]]] = [[] for _ in encoded]
    tokenizer, device = adapter.backbone.tokenizer, adapter.backbone.device

    def of_batch(chosen: Sequence[int]) -> Sequence[Any]:
        items = [item for index in chosen for item in units[index]]
        rows = None if trials is None else [trials[owners[index]] for index in chosen for _ in units[index]]
        choices = len(units[chosen[0]])
        batch = collate(items, tokenizer.pad_token_id, rows, left=adapter.pad_left, choices=choices)
        return adapter.predict(batch.to(device), injection, decoding)

    batches = _batches(units, batch_size)
    for chosen, batch_outputs in zip(batches, side_by_side(of_batch, batches, device), strict=True):
        for index, output in zip(chosen, batch_outputs, strict=True):
            outputs[owners[index]].append((index, output))
        between(len(chosen))
    in_order = [[output for _, output in sorted(of_example, key=lambda pair: pair[0])] for of_example in outputs]
    if format == "ranking":
        return in_order
    return [best_answer(windows) if format == "span" else windows[0] for windows in in_order]


def _batches(units: Sequence[Sequence[Encoded]], batch_size: int) -> list[list[int]]:
    """Which units are decoded together: of like lengths, the longest first, and of one number of choices."""
    order = sorted(range(len(units)), key=lambda i: (len(units[i]), -max(len(item.ids) for item in units[i])))
    batches = []
    while order:
        choices = len(units[order[0]])
        batches.append([index for index in order[:batch_size] if len(units[index]) == choices])
        order = order[len(batches[-1]) :]
    return batches


@torch.no_grad()
def mean_loss(
    adapter: ModelAdapter,
    task: Task,
    examples: Sequence[Example],
    injection: Injection,
    batch_size: int,
    between: Callable[[int], None],
    encode: EncodeAll | None = None,
) -> float:
    """Cross-entropy a label (token, tagged word, window, example) over a split, in nats; targets: first references.

    Args:
        encode: as in `predict`.
    """
    total, count = 0.0, 0
    encoded = separated((encode or encoded_by(adapter, task))(examples, True), task.format)
    encoded.sort(key=lambda items: -max(len(item.ids) for item in items))
    tokenizer, device = adapter.backbone.tokenizer, adapter.backbone.device

    def of_batch(chosen: Sequence[Sequence[Encoded]]) -> tuple[float, int]:
        batch = collate([item for items in chosen for item in items], tokenizer.pad_token_id, choices=len(chosen[0]))
        losses = adapter.losses(batch.to(device), injection)
        return float(losses.total.sum()), int(losses.count.sum())

    batches = [encoded[start : start + batch_size] for start in range(0, len(encoded), batch_size)]
    for chosen, (loss, labels) in zip(batches, side_by_side(of_batch, batches, device), strict=True):
        total, count = total + loss, count + labels
        between(len(chosen))
    return total / count


def write_predictions(
    path: Path, examples: Sequence[Example], predictions: Sequence[object], write: Callable[[Path, str], None]
) -> None:
    """One json line an example: id, prediction, references."""
    lines = [
        json.dumps({"id": example.id, "prediction": prediction, "references": example.references}, ensure_ascii=False)
        for example, prediction in zip(examples, predictions, strict=True)
    ]
    write(path, "\n".join(lines) + "\n")
