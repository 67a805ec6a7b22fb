"""The nouns between a method and a model: ModelSpec, Injection, Method.

Shape letters, one legend everywhere: K trials trained together, B examples a trial, N rows of a batch (all trials'
examples, N = K x B in training), T tokens, P prompt length, D model width, L layers, H key/value heads, Dh head size,
C classes (or outputs of a head), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # method modules import this one, and they load without torch
    import torch
    from torch import Tensor

SITES = ("encoder", "decoder", "cross")
"""Attention sites: self-attention of the encoder or the decoder, and the decoder's attention to the encoder."""

PLACEMENTS = ("before", "after_bos", "after")
"""Where an input-level prompt may stand in any model. Two more have methods of their own: `infix`, between the source
and the separator of a decoder-only model, and `template`, in the places that the task's template leaves (P-tuning)."""


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

    def kv_width(self, site: str, layers: int | None = None) -> int:
        """Numbers that keys and values of one prefix position take over L layers (all of the site): 2 x L x H x Dh."""
        return 2 * (self.sites[site] if layers is None else layers) * self.heads * self.head_dim


@dataclass(frozen=True)
class KeyValue:
    """Keys and values to put in front of a site's own: `keys` and `values` [K, L, H, P, Dh]."""

    keys: Tensor
    values: Tensor
    layers: tuple[int, ...] | None = None
    """Which layers of the site have them, in the order of axis L; None: all."""
    mask: Tensor | None = None
    """[K, P] True where a position is the trial's own; None: all are (trials of one length)."""

    @property
    def length(self) -> int:
        """P"""
        return self.keys.shape[3]


@dataclass(frozen=True)
class Adapter:
    """A bottleneck behind every block of a stack: x + up(relu(down(LN(x)))), with R units in between.

    Houlsby et al. 2019, in the design of Lin et al. 2020 that Li and Liang compare with (liliang2021, "Adapters").
    """

    scale: Tensor
    """Of the layer norm [K, L, D]."""
    shift: Tensor
    """[K, L, D]"""
    down: Tensor
    """[K, L, R, D]"""
    down_bias: Tensor
    """[K, L, R]"""
    up: Tensor
    """[K, L, D, R]"""
    up_bias: Tensor
    """[K, L, D]"""


@dataclass(frozen=True)
class Tuning:
    """Which weights a method trains inside the backbone itself (then K is 1); `models.tuning` carries it out."""

    kind: str
    """all | top (the last `blocks` blocks and the final norm) | biases | lora | ia3"""
    rank: int = 0
    alpha: float = 0.0
    dropout: float = 0.0
    """Of lora, whose matrices are W + (alpha / rank) B A."""
    targets: tuple[str, ...] = ()
    """Names of the modules that lora and ia3 change; empty: the library's choice for the family."""
    blocks: int = 0

    @property
    def adds_layers(self) -> bool:
        """It trains layers that are put beside the model's own, not the model's weights."""
        return self.kind in ("lora", "ia3")


@dataclass(frozen=True)
class Head:
    """A linear layer on the backbone's output: `weight` [K, C, D], `bias` [K, C]."""

    weight: Tensor
    bias: Tensor
    classes: tuple[int, ...] | None = None
    """[K] how many of C are each trial's own, where trials differ (mixed-task inference); None: all."""


@dataclass(frozen=True)
class Injection:
    """What a method puts into a frozen model: the one data type of all methods. Empty means the plain model."""

    embeds: Tensor | None = None
    """Input-level prompt [K, P, D]; in an encoder-decoder it goes to the encoder."""
    placement: str = "before"
    embeds_mask: Tensor | None = None
    """[K, P] True where a row of `embeds` is the trial's own; None: all are."""
    embedded_twice: bool = False
    """Encoders: the text's token, position and type embeddings and their norm are applied before the prompt is put in
    front, and position embeddings and norm again after (the official "PT" of P-Tuning v2)."""
    pooled_at_prompt: bool = False
    """Encoders: pool position 0 of the sequence, a prompt row, instead of [CLS] (the official "PT" on COPA)."""
    infix: KeyValue | None = None
    """Added to the keys and values at the places of `embeds`, seen from behind them only (placement `infix`)."""
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    """{stack (encoder, decoder): bottleneck layers}"""
    kv: Mapping[str, KeyValue] = field(default_factory=dict)
    """{site: keys and values}"""
    kv_dropout: float | Tensor = 0.0
    """Dropout on keys and values, drawn anew for every row of a batch; [K] where trials differ, 0 outside training."""
    position_shift: int | Tensor = 0
    """Real tokens start at this position id; [K] where trials differ."""
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
    activations: Callable[[list[int]], Mapping[str, Tensor]] | None = None
    """Token ids to the frozen model's own keys and values, {site: [P, 2 x L x H x Dh]} in the layout of
    `reparameterisation.split_layers`; None where only shapes are wanted."""

    @property
    def trials(self) -> int:
        """K"""
        return len(self.generators)


class Method(Protocol):
    """Owns the trainable tensors of K trials. `MethodConfig.build` makes it."""

    name: str
    parameters: dict[str, Tensor]
    """Trainable leaves, each with the leading trial axis K. Float32."""

    @property
    def tuning(self) -> Tuning | None:
        """Baselines that train weights of the backbone itself say which; None: it is frozen."""
        ...

    def build(self, context: Context) -> None:
        """Make and initialise `parameters`, each trial's from its own generator."""
        ...

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """The injection of the present parameters; `training` switches dropout on.

        Args:
            keys: [K] of each trial's step, by which a method draws dropout of its own (`methods.keyed_dropout`).
        """
        ...

    def export(self) -> dict[str, Tensor]:
        """What must be kept after training, reparameterisation folded away."""
        ...

    def restore(self, exported: Mapping[str, Tensor]) -> None:
        """The inverse of `export`: afterwards `injection(training=False)` gives the exported prompt."""
        ...

    def start(self, exported: Mapping[str, Tensor]) -> None:
        """Begin training from an exported prompt.

        Raises:
            ValueError: it does not fit, or the method has no prompt.
        """
        ...

    def parameter_counts(self) -> dict[str, int]:
        """`trained` and `stored` numbers of one trial, their parts `prompt` (stored) and `head`; no backbone."""
        ...


def no_start(name: str) -> ValueError:
    """What `Method.start` of a method without a prompt raises."""
    return ValueError(
        f"{name} has no prompt that could start from a file. Leave it out, or set method=prompt_tuning, "
        "prefix_tuning or p_tuning_v2."
    )
