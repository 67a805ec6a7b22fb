"""What must be true of a checkpoint before a trial trusts it: files that are there, facts that agree, whole weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from repro.config.schema import ModelConfig
from repro.errors import ModelError, WeightsUnavailable
from repro.models.families.family import Family

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
INDEX = "model.safetensors.index.json"
MAY_LACK = ("pooler",)
"""Modules that checkpoints are published without: drawn with a fixed seed, and said in the record."""
LEAST_TOKENS = 0.8
"""Share of the embedding table's rows that a tokenizer uses at least; tables are padded by a few rows."""


def check_folder(model: ModelConfig, folder: Path) -> None:
    """A folder's tokenizer and the shards that its index names.

    Raises:
        WeightsUnavailable: no tokenizer files (the library would make up a vocabulary), a shard that is missing or lies
            outside the folder, an index that cannot be read.
    """
    where = f"model.location={model.location}"
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise WeightsUnavailable(
            f"{where}: there are no tokenizer files in {folder} (looked for {', '.join(TOKENIZER_FILES)}). Copy the "
            "checkpoint's own there."
        )
    index = folder / INDEX
    if not index.is_file():
        return
    try:
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsUnavailable(f"{index} cannot be read ({error!r}): get the checkpoint anew.") from error
    for name in sorted({str(name) for name in files}):
        if Path(name).name != name:
            raise WeightsUnavailable(f"{index} names the file {name!r}, outside its folder. Get the checkpoint anew.")
        if not (folder / name).is_file():
            raise WeightsUnavailable(f"{index} names the file {name}, which is not there: get the checkpoint anew.")


def check_facts(model: ModelConfig, kind: Family, config: PretrainedConfig) -> None:
    """The facts of `conf/model` decide the shapes of prompts, so they must be the checkpoint's own.

    Raises:
        ModelError: the fact, its value, and the checkpoint's.
    """
    if model.kind != kind.kind:
        raise ModelError(
            f"model.kind={model.kind}: models of the family {kind.name} are {kind.kind}. Correct conf/model."
        )
    stated = kind.random_shape(model)
    theirs = {fact: getattr(config, keyword, None) for keyword, fact in kind.shape.items()}
    ours = {fact: stated[keyword] for keyword, fact in kind.shape.items()}
    if "head_dim" not in theirs:
        theirs["head_dim"], ours["head_dim"] = int(theirs["width"] or 0) // model.heads, model.head_dim
    if "kv_heads" not in theirs:
        theirs["kv_heads"], ours["kv_heads"] = theirs.get("heads"), model.kv_heads or model.heads
    for fact, value in theirs.items():
        if value is None or isinstance(value, bool) or (fact == "max_positions" and model.max_positions is None):
            continue
        padding = kind.unused_positions if fact == "max_positions" else 0
        if not isinstance(value, int) or value != ours[fact]:
            own = value - padding if isinstance(value, int) else value
            raise ModelError(
                f"model.{fact}={vars(model)[fact]}, but the weights of {model.location} have {own}: correct conf/model."
            )


def check_tokenizer(model: ModelConfig, kind: Family, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """A tokenizer that belongs to the embedding table.

    Args:
        rows: of the table.

    Raises:
        ModelError: more tokens than rows, far fewer, or no end of sequence in a model that generates.
    """
    size, where = len(tokenizer), f"model.location={model.location}"
    if tokenizer.vocab_size > rows or size < LEAST_TOKENS * rows:  # added tokens may have no row
        raise ModelError(
            f"{where}: its tokenizer has {size:,} tokens and its embedding table {rows:,} rows, so they are not of one "
            "checkpoint. Put the tokenizer files that belong to it there."
        )
    if kind.kind != "encoder" and tokenizer.eos_token_id is None:
        raise ModelError(
            f"{where}: its tokenizer has no end-of-sequence token (eos_token). Add it to its tokenizer files."
        )


def check_missing(model: ModelConfig, missing: Iterable[str], shapes: Sequence[tuple[str, object, object]]) -> None:
    """No weight of the backbone is made up.

    Args:
        missing: names that the checkpoint lacks.
        shapes: (name, its shape in the checkpoint, in the model) of those that do not fit.

    Raises:
        ModelError: names the first tensor.
    """
    for name, stored, wanted in shapes:
        raise ModelError(
            f"model.location={model.location}: the tensor {name} has the shape {_shape(stored)}, but its config.json "
            f"asks for {_shape(wanted)}. Get the checkpoint anew."
        )
    lacking = [name for name in missing if not set(MAY_LACK) & set(name.split("."))]
    if lacking:
        raise ModelError(
            f"model.location={model.location}: the checkpoint lacks {len(lacking)} of the model's tensors, one of them "
            f"{lacking[0]}. Get it anew, or convert it to this library's names."
        )


def check_finite(model: ModelConfig, tensors: Mapping[str, nn.Parameter]) -> None:
    """Raises ModelError: a weight that is not a finite number; names its tensor."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"model.location={model.location}: the tensor {name} holds values that are not finite. Get it anew."
            )


def _shape(value: object) -> list[int]:
    return [int(size) for size in value] if isinstance(value, Iterable) else []
