"""The nouns between a method and a model: ModelSpec, Injection, Method.

Shape letters, one legend everywhere: K trials trained together, B examples a trial, N rows of a batch (all trials'
examples, N = K x B in training), T tokens, P prompt length, D model width, L layers, H key/value heads, Dh head size,
C classes (or outputs of a head), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

SITES = ("encoder", "decoder", "cross")
"""Attention sites: self-attention of the encoder or the decoder, and the decoder's attention to the encoder."""

PLACEMENTS = ("before", "after_bos", "after")


@dataclass(frozen=True)
class ModelSpec:
    """Frozen facts of a backbone that a method may use."""

    kind: str
    """encoder | decoder | encoder_decoder"""
    width: int
    heads: int
    """Key/value heads, H (fewer than query heads where they are grouped)."""
    head_dim: int
    vocabulary: int
    sites: Mapping[str, int]
    """{site: layers L}"""

    def kv_width(self, site: str) -> int:
        """Numbers that keys and values of one prefix position take over all layers of a site: 2 x L x H x Dh."""
        return 2 * self.sites[site] * self.heads * self.head_dim


@dataclass(frozen=True)
class KeyValue:
    """Keys and values to put in front of a site's own: `keys` and `values` [K, L, H, P, Dh]."""

    keys: Tensor
    values: Tensor

    @property
    def length(self) -> int:
        """P"""
        return self.keys.shape[3]


@dataclass(frozen=True)
class Head:
    """A linear layer on the backbone's output: `weight` [K, C, D], `bias` [K, C]."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Injection:
    """What a method puts into a frozen model: the one data type of all methods. Empty means the plain model."""

    embeds: Tensor | None = None
    """Input-level prompt [K, P, D]; in an encoder-decoder it goes to the encoder."""
    placement: str = "before"
    kv: Mapping[str, KeyValue] = field(default_factory=dict)
    """{site: keys and values}"""
    kv_dropout: float = 0.0
    """Dropout on keys and values, drawn anew for every row of the batch; 0 outside training."""
    position_shift: int = 0
    """Real tokens start at this position id."""
    head: Head | None = None

    @property
    def prompt_length(self) -> int:
        """Rows of the input-level prompt, 0 without one."""
        return 0 if self.embeds is None else self.embeds.shape[1]


@dataclass(frozen=True)
class Context:
    """What a method may look at when it makes its tensors."""

    spec: ModelSpec
    embeddings: Tensor
    """Frozen token embeddings [V, D], float32; on the meta device when only shapes are wanted."""
    tokenize: Callable[[str], list[int]]
    """Text to token ids without special tokens."""
    labels: Sequence[str]
    outputs: int | None
    """C of the head; None for a model that generates."""
    generators: Sequence[torch.Generator]
    """One a trial, K in all."""

    @property
    def trials(self) -> int:
        """K"""
        return len(self.generators)


class Method(Protocol):
    """Owns the trainable tensors of K trials. Built by `_target_` from `conf/method`, with plain keywords."""

    name: str
    tunes_backbone: bool
    """True for baselines that change the backbone's own weights (then K is 1)."""
    parameters: dict[str, Tensor]
    """Trainable leaves, each with the leading trial axis K. Float32."""

    def build(self, context: Context) -> None:
        """Make and initialise `parameters`, each trial's from its own generator."""
        ...

    def injection(self, training: bool) -> Injection:
        """The injection of the present parameters; `training` switches dropout on."""
        ...

    def export(self) -> dict[str, Tensor]:
        """What must be kept after training, reparameterisation folded away."""
        ...

    def restore(self, exported: Mapping[str, Tensor]) -> None:
        """The inverse of `export`: afterwards `injection(training=False)` gives the exported prompt."""
        ...

    def parameter_counts(self) -> dict[str, int]:
        """`trained` and `stored` numbers of one trial, their parts `prompt` (stored) and `head`; no backbone."""
        ...
