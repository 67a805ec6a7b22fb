"""What differs between families: where attention sits, where positions are looked up, what dropout is called.

A family is a module `repro.models.families.<name>` that registers one `Family`; nothing else needs to know it. Its
module loads no torch: functions that need it import it when a model is there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from repro.methods.facts import FAMILIES

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

    from repro.config.schema import ModelConfig
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
class FunctionalDropout:
    """Dropout that the library's code calls as a function."""

    module: nn.Module
    """On whose output it is."""
    holder: nn.Module
    """The module that holds the rate."""
    attribute: str
    """The rate's name in it."""


@dataclass(frozen=True)
class PeftTargets:
    """Names of modules that peft changes, for families that it has no choice of its own for."""

    lora: tuple[str, ...] = ()
    ia3: tuple[str, ...] = ()
    feed_forward: tuple[str, ...] = ()
    """Those of `ia3` whose inputs are scaled."""


@dataclass(frozen=True)
class Family:
    """Structure of one family of transformers models. Paths are names of submodules in the loaded model."""

    name: str
    title: str
    """In sentences."""
    kind: str
    """encoder | decoder | encoder_decoder"""
    auto_class: str
    """The transformers Auto class that loads it."""
    config_class: str
    """`module:Class` of its configuration."""
    stacks: Mapping[str, str]
    """{stack (encoder, decoder): path of its list of blocks}"""
    attention: Mapping[str, str]
    """{site: path of the attention module inside a block}"""
    shape: Mapping[str, str]
    """{keyword of the configuration class: the fact of `conf/model` that it is}"""
    hidden_dropout: tuple[str, ...]
    """Names in the model's config of dropout in embeddings and hidden layers."""
    attention_dropout: tuple[str, ...]
    """Names of dropout on attention probabilities (may repeat a name above, as in T5)."""
    constants: Mapping[str, object] = field(default_factory=dict)
    """Further keywords of a model with random weights."""
    default_positions: int | None = None
    """Rows of its position table where `conf/model` states none."""
    unused_positions: int = 0
    """Rows of the position table that no token uses."""
    positions: Callable[[nn.Module], list[PositionModule]] = lambda model: []
    """Where position ids are looked up; empty for relative positions."""
    final_norms: tuple[str, ...] = ()
    """Paths of the norms behind the last block of the top stack."""
    functional_dropout: Callable[[nn.Module], Mapping[str, FunctionalDropout]] = lambda model: {}
    """By name; `attention.keyed_dropout_sites` draws it instead, and the rate becomes 0."""
    prepare: Callable[[PreTrainedModel], list[str]] = lambda model: []
    """Changes a loaded model so that it takes prefixes or packed sequences; returns the deviations it causes."""
    finish_random: Callable[[PreTrainedModel, ModelConfig], None] = lambda model, facts: None
    """What a model that was made from a config alone still lacks."""
    check: Callable[[PreTrainedModel, ModelConfig], str | None] = lambda model, facts: None
    """Why loaded weights are not what `conf/model` says, beyond shapes; None where they are."""
    bias: Callable[[nn.Module], Mapping[str, Callable[[int, torch.dtype], Tensor]]] = lambda model: {}
    """Loaded model to {site: length T to what is added to all scores [1, H, T, T]} (relative positions)."""
    absorbs: Callable[[nn.Module, Packed, Packed], bool] | None = None
    """Whether a cross-attention module reads packed targets and sources without keys and values."""
    lm_head: Callable[[PreTrainedModel], Callable[[Tensor], Tensor]] | None = None
    """Encoders: `AutoModelForMaskedLM` instance to its head, hidden states [..., D] to logits [..., V]."""
    word_tokenizer_options: Mapping[str, bool] = field(default_factory=dict)
    """Keywords for loading a tokenizer that is given words one by one (tagging): byte-level BPE would glue them."""
    token_types: bool = False
    """Its tokenizer tells the first text from the second."""
    biases: bool = True
    embeds_twice: bool = False
    sentinels: bool = False
    shared_dropout: bool = False
    """As in `methods.facts.FamilyFacts`."""
    packs: bool = True
    """Sequences can be laid end to end: all its attention goes through `attention.prefix_attention`."""
    trims: bool = False
    """Encoders: the last layer can be computed at the read positions alone (`attention.bert_layer`)."""
    peft_targets: PeftTargets = PeftTargets()
    transposed_weights: bool = False
    """Its linear layers store [inputs, outputs]."""

    def blocks(self, model: nn.Module) -> dict[str, list[nn.Module]]:
        """{stack: its blocks, first first}: where adapters hook in."""
        return {stack: list(model.get_submodule(path).children()) for stack, path in self.stacks.items()}

    def sites(self, model: nn.Module) -> Sites:
        """{site: attention modules, first layer first}; cross-attention is in the decoder's blocks."""
        blocks = self.blocks(model)
        return {
            site: [block.get_submodule(path) for block in blocks["decoder" if site == "cross" else site]]
            for site, path in self.attention.items()
        }

    def random_shape(self, model: ModelConfig) -> dict[str, object]:
        """Keywords of the configuration class for a model with random weights at the shapes of `conf/model`."""
        positions = model.max_positions or self.default_positions
        facts = vars(model) | {
            "decoder_layers": model.decoder_layers or model.layers,
            "kv_heads": model.kv_heads or model.heads,
            "max_positions": None if positions is None else positions + self.unused_positions,
        }
        return {keyword: facts[fact] for keyword, fact in self.shape.items()} | dict(self.constants)

    def configuration(self) -> Callable[..., PretrainedConfig]:
        """Its configuration class; importing it makes the family known to transformers' Auto classes."""
        module, _, name = self.config_class.partition(":")
        made: Callable[..., PretrainedConfig] = getattr(importlib.import_module(module), name)
        return made


def register(family: Family, module: str) -> None:
    """Make a family known under its name.

    Args:
        module: the caller's `__name__`: no other module may take the same name.
    """
    FAMILIES.add(family.name, family, module)


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        ConfigError: there is none.
    """
    found = FAMILIES.get(name)
    assert isinstance(found, Family)
    return found
