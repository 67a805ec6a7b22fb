"""What a trial would cost: memory of a device, floating-point operations, disk. From shapes, before anything runs.

None of it was measured on a GPU: sizes follow from the config, activations from one rule (`ACTIVATIONS`), and hours
from an assumed rate, or from records of the same method, model and task where the store has some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repro.store.record import Record

BYTES = {"float32": 4, "bfloat16": 2, "float64": 8}
ACTIVATIONS = 36
"""Saved activations of a token in a layer, in multiples of the width: 12 for an engine that keeps the least, thrice
that for padded batches and every intermediate kept. A rule of thumb, to be on the safe side."""
OPTIMISER_BYTES = 16
"""A trained number's float32 copy, gradient and two moments."""
RECORD_BYTES = 300_000
"""A record with its per-example statistics and the predictions of a trial, roughly."""

Plain = Mapping[str, Any]


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


def trained(plain: Plain) -> float:
    """About how many numbers a trial trains: exact for whole backbones and plain prompts, without heads."""
    method, model = plain["method"], plain["model"]
    name, size, width = method["name"], float(model["parameters"] or 0), model["width"]
    if name == "fine_tuning" or method.get("tune_backbone"):
        return size
    blocks = model["layers"] + (model["decoder_layers"] or 0)
    if name == "ft_top":
        return size * method["blocks"] / blocks
    if name == "adapter":
        return float(blocks * (2 * width * method["bottleneck"] + method["bottleneck"] + 3 * width))
    length = method.get("length", 0)
    if name in ("prefix_tuning", "p_tuning_v2", "infix_tuning", "lora_prefix"):
        layers = model["layers"] + 2 * (model["decoder_layers"] or 0)
        kept = 2 * layers * (model["kv_heads"] or model["heads"]) * model["head_dim"]
        hidden = method.get("hidden", 0)
        inner = method["reparameterisation"] in ("mlp", "deep")
        return float(length * width + width * hidden + hidden * kept if inner else length * kept)
    return float(length * width)


def tokens(plain: Plain) -> int:
    """Tokens of one example at the config's limits, prompt included: an upper bound."""
    task, generated = plain["task"], plain["model"]["kind"] != "encoder"
    return int(task["max_input_length"] + plain["method"].get("length", 0)) + (
        int(task["max_target_length"]) if generated else 0
    )


def rows(plain: Plain, split: str) -> int | None:
    """Rows of a split that a trial uses; a mixture's are its parts'."""
    task = plain["task"]
    parts = task.get("parts") or {}
    found = [(part.get("rows") or {}).get(split) for part in parts.values()] if parts else [task["rows"].get(split)]
    counts = [int(count) for count in found if count is not None]
    if len(counts) < len(found):
        return None
    limit = (task.get("limit") or {}).get(split)
    total = sum(counts)
    return total if limit is None else min(total, int(limit))


def steps(plain: Plain) -> int | None:
    """Optimiser steps."""
    trainer = plain["trainer"]
    if trainer["steps"] is not None:
        return int(trainer["steps"])
    count = rows(plain, "train")
    return None if count is None else int(trainer["epochs"]) * math.ceil(count / trainer["batch_size"])


def cost(plain: Plain) -> Cost:
    """The estimates of a trial."""
    model, trainer, task = plain["model"], plain["trainer"], plain["task"]
    size, bytes_ = float(model["parameters"] or 0), BYTES[trainer["dtype"]]
    own, length = trained(plain), tokens(plain)
    layers = model["layers"] + (model["decoder_layers"] or 0)
    batch = math.ceil(trainer["batch_size"] / trainer["microbatches"])
    activations = ACTIVATIONS * batch * length * model["width"] * layers * bytes_
    if trainer["gradient_checkpointing"]:
        activations /= layers
    labels = batch * task["max_target_length"] * model["vocabulary"] * 8 if model["kind"] != "encoder" else 0
    memory = size * bytes_ + own * OPTIMISER_BYTES + activations + labels
    count = steps(plain)
    flops = None
    if count is not None:
        a_token = (6 if own > size / 2 else 4) * size
        training = float(count) * trainer["batch_size"] * length * a_token
        flops = training + _evaluations(plain, count) * (rows(plain, "validation") or 0) * _read(plain, size, length)
        flops += (rows(plain, "test") or 0) * _read(plain, size, length) if task["report_split"] == "test" else 0
    return Cost(memory, own * 4 + RECORD_BYTES, flops, count)


def _evaluations(plain: Plain, count: int) -> int:
    every = str(plain["trainer"]["evaluate_every"])
    if every != "epoch":
        return max(1, count // int(every))
    epochs = plain["trainer"]["epochs"]
    train = rows(plain, "train")
    return int(epochs or max(1, round(count * plain["trainer"]["batch_size"] / train) if train else 1))


def _read(plain: Plain, size: float, length: int) -> float:
    """Operations to score one example: a forward pass over it, and one over what is generated for every beam."""
    decoding = plain["task"]["decoding"]
    generated = decoding["beams"] * decoding["max_new_tokens"] if plain["model"]["kind"] != "encoder" else 0
    return 2 * size * (length + generated)


def measured(plain: Plain, records: Sequence[Record]) -> tuple[float, int] | None:
    """Mean seconds of stored trials of the same method, model and task, and how many there are."""
    same = [
        record.cost["train_seconds"] + record.cost.get("evaluation_seconds", 0.0)
        for record in records
        if record.status in ("done", "collapsed") and "train_seconds" in record.cost
        if all(record.config[group]["name"] == plain[group]["name"] for group in ("method", "model", "task"))
        if record.config["trainer"]["epochs"] == plain["trainer"]["epochs"]
        if record.config["trainer"]["steps"] == plain["trainer"]["steps"]
    ]
    return (sum(same) / len(same), len(same)) if same else None
