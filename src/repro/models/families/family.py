"""What differs between families: where attention sits, where positions are looked up, what dropout is called.

A family is a module `repro.models.<family>` with one constant FAMILY; nothing else needs to know it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from repro.models.attention.packing import Packed

Sites = Mapping[str, list[nn.Module]]


@dataclass(frozen=True)
class PositionModule:
    """A module that turns position ids into vectors, and the keyword or index under which it is given the ids."""

    module: nn.Module
    site: str
    argument: str | int
    offset: int | None = None
    """Set for tables that know one row of positions for the whole batch, or count by themselves where `argument` is not
    given: position p is looked up in row p + offset."""
    first: int = 0
    """Position id of a sequence's first token."""


@dataclass(frozen=True)
class Family:
    """Structure of one family of transformers models."""

    name: str
    kind: str
    """encoder | decoder | encoder_decoder"""
    auto_class: str
    """The transformers Auto class that loads it."""
    sites: Callable[[Any], Sites]
    """Loaded model to {site: attention modules, first layer first}."""
    positions: Callable[[Any], list[PositionModule]]
    """Where position ids are looked up; empty for relative positions."""
    blocks: Callable[[Any], Mapping[str, list[nn.Module]]]
    """Loaded model to {stack (encoder, decoder): its blocks, first first}: where adapters hook in."""
    hidden_dropout: tuple[str, ...]
    """Names in the model's config of dropout in embeddings and hidden layers."""
    attention_dropout: tuple[str, ...]
    """Names of dropout on attention probabilities (may repeat a name above, as in T5)."""
    final_norms: Callable[[Any], list[nn.Module]] = lambda model: []
    """Norms behind the last block of the top stack, where the family has one."""
    functional_dropout: Callable[[Any], Mapping[str, tuple[nn.Module, Any, str]]] = lambda model: {}
    """Dropout that the library's code calls as a function: {name: (module on whose output it is, the module that holds
    the rate, its attribute)}. `models.dropout` draws it instead, and the rate there becomes 0."""
    shared_dropout: bool = False
    """Hidden dropout masks a table that all rows of a batch share: trials cannot train in one pass while it is on."""
    prepare: Callable[[Any], list[str]] = lambda model: []
    """Changes a loaded model whose attention is its own so that it takes prefixes; returns the deviations it causes."""
    packs: bool = True
    """Sequences can be laid end to end: all its attention goes through `models.injection`."""
    trims: bool = False
    """Encoders: the last layer can be computed at the read positions alone (`bert_layer`)."""
    bias: Callable[[Any], Mapping[str, Callable[[int, torch.dtype], Tensor]]] = lambda model: {}
    """Loaded model to {site: length T to what is added to all scores [1, H, T, T]} (relative positions)."""
    absorbs: Callable[[Any, Packed, Packed], bool] | None = None
    """Whether a cross-attention module reads packed targets and sources without keys and values (`t5_attention`)."""
    lm_head: Callable[[Any], Callable[[Any], Any]] | None = None
    """Encoders: `AutoModelForMaskedLM` instance to its head, hidden states [..., D] to logits [..., V]."""


def family(name: str) -> Family:
    """The family of that name."""
    return importlib.import_module(f"repro.models.families.{name}").FAMILY
