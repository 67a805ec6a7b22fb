"""What a trial would cost: memory of a device, floating-point operations, disk. From shapes, before anything runs.

None of it was measured on a GPU: sizes follow from the config, activations from one rule (`ACTIVATIONS`), and hours
from an assumed rate, or from records of the same method, model and task where the store has some.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from repro.config.schema import TrialConfig
from repro.methods.facts import sites_of
from repro.store.record import Record

BYTES = {"float32": 4, "bfloat16": 2, "float64": 8}
ACTIVATIONS = 36
"""Saved activations of a token in a layer, in multiples of the width: 12 for an engine that keeps the least, thrice
that for padded batches and every intermediate kept. A rule of thumb, to be on the safe side."""
OPTIMISER_BYTES = 16
"""A trained number's float32 copy, gradient and two moments."""
RECORD_BYTES = 300_000
"""A record with its per-example statistics and the predictions of a trial, roughly."""


@dataclass(frozen=True)
class Cost:
    """Estimates of one trial."""

    memory: float
    """Bytes on the device."""
    disk: float
    """Bytes of what is kept."""
    flops: float | None
    """Training and evaluation; None where the number of training rows is unknown."""
    steps: int | None


def tokens(config: TrialConfig) -> int:
    """Tokens of one example at the config's limits, prompt included."""
    model, task = config.model, config.task
    prompt = max(config.method.positions_taken(site, model.kind) for site in sites_of(model))
    return task.max_input_length + prompt + (task.max_target_length if model.kind != "encoder" else 0)


def rows(config: TrialConfig, split: str) -> int | None:
    """Rows of a split that a trial uses; a mixture's are its parts'."""
    task = config.task
    counts = [part.rows.get(split) for part in (task.parts.values() if task.parts else [task])]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return None
    limit = {"train": task.limit.train, "validation": task.limit.validation, "test": task.limit.test}[split]
    return sum(known) if limit is None else min(sum(known), limit)


def steps(config: TrialConfig) -> int | None:
    """Optimiser steps."""
    trainer = config.trainer
    if trainer.steps is not None:
        return trainer.steps
    count = rows(config, "train")
    return None if count is None or trainer.epochs is None else trainer.epochs * math.ceil(count / trainer.batch_size)


def cost(config: TrialConfig) -> Cost:
    """The estimates of a trial."""
    model, trainer, task = config.model, config.trainer, config.task
    size, bytes_ = float(model.parameters or 0), float(BYTES[trainer.dtype])
    trained, length = config.method.trained_numbers(model), tokens(config)
    layers = model.layers + (model.decoder_layers or 0)
    batch = math.ceil(trainer.batch_size / trainer.microbatches)
    activations = ACTIVATIONS * batch * length * model.width * layers * bytes_
    if trainer.gradient_checkpointing:
        activations /= layers
    labels = batch * task.max_target_length * model.vocabulary * 8 if model.kind != "encoder" else 0
    memory = size * bytes_ + trained * OPTIMISER_BYTES + activations + labels
    count = steps(config)
    flops = None
    if count is not None:
        per_token = (6 if trained > size / 2 else 4) * size
        flops = float(count) * trainer.batch_size * length * per_token
        scored = _evaluations(config, count) * (rows(config, "validation") or 0)
        if task.report_split == "test":
            scored += rows(config, "test") or 0
        flops += scored * _scoring(config, size, length)
    return Cost(memory, trained * 4 + RECORD_BYTES, flops, count)


def _evaluations(config: TrialConfig, count: int) -> int:
    trainer = config.trainer
    if trainer.evaluate_every != "epoch":
        return max(1, count // int(trainer.evaluate_every))
    train = rows(config, "train")
    return trainer.epochs or max(1, round(count * trainer.batch_size / train) if train else 1)


def _scoring(config: TrialConfig, size: float, length: int) -> float:
    """Operations to score one example: a forward pass over it, and one over what is generated for every beam."""
    decoding = config.task.decoding
    generated = decoding.beams * decoding.max_new_tokens if config.model.kind != "encoder" else 0
    return 2 * size * (length + generated)


def measured(config: TrialConfig, records: Sequence[Record]) -> tuple[float, int] | None:
    """Mean seconds of stored trials of the same method, model and task, and how many there are."""
    names = {"method": config.method.name, "model": config.model.name, "task": config.task.name}
    seconds = [
        record.cost["train_seconds"] + record.cost.get("evaluation_seconds", 0.0)
        for record in records
        if record.status in ("done", "collapsed") and "train_seconds" in record.cost
        if all(record.config[group]["name"] == name for group, name in names.items())
        if record.config["trainer"]["epochs"] == config.trainer.epochs
        if record.config["trainer"]["steps"] == config.trainer.steps
    ]
    return (sum(seconds) / len(seconds), len(seconds)) if seconds else None
