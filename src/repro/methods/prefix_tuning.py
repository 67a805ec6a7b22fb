"""Prefix-tuning (Li and Liang 2021): keys and values at every layer, through an MLP while training (section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from repro.methods.base import Method
from repro.methods.facts import FamilyFacts, ModelFacts, prefix_numbers
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import (
    Capabilities,
    Entry,
    MethodConfig,
    check_layers,
    check_sites,
    prefix_beyond_peft,
    refuse,
)

DEPTH = {"none": 0, "mlp": 1, "deep": 2}
"""Hidden layers of each reparameterisation."""


@dataclass
class PrefixTuningConfig(MethodConfig):
    """P_theta[i, :] = MLP_theta(P'_theta[i, :]) (equation 3).

    As in the official code P' has D columns and `hidden` is the MLP's inner width; the paper calls k the width of P',
    which `embedding_width` sets.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        enters=(Entry.KEYS_VALUES,), size="length", peft_type="PREFIX_TUNING", imports="PREFIX_TUNING"
    )

    length: int = setting(5, at_least=1)
    reparameterisation: str = setting("mlp", allowed=tuple(DEPTH))
    """mlp | none (the prefix itself is trained: `init_shallow`) | deep (two hidden layers: `use_deep`)"""
    hidden: int = setting(512, at_least=1)
    """Width k of the MLP's hidden layer (`mid_dim`)."""
    embedding_width: int | None = setting(None, at_least=1)
    """Columns of P'; null: the model's width, as in the code (the paper's k is this one)."""
    init_distribution: str = setting("normal", allowed=("normal", "uniform"))
    """normal (N(0, 1), the code) | uniform (U[0, 1), appendix A.5): of P', or of the prefix itself without an MLP"""
    layers: str = setting("all", shared_jointly=True)
    """all | first:k | last:k of each site's layers"""
    init_text: str | None = None
    """Words whose activations in the frozen model are the starting prefix (section 7.4); `length` is their number of
    tokens."""
    init_steps: int = setting(500, at_least=1)
    """Updates that fit the MLP to the activations of `init_text`."""
    prefix_dropout: float = setting(0.0, at_least=0, below=1)
    sites: list[str] = setting(factory=list, shared_jointly=True)
    """encoder, decoder, cross; empty means every site the model has."""
    shift_positions: bool = True
    """Real tokens start at position `length`: Li and Liang's code for GPT-2. In their BART they start at 0: false."""
    head: str = setting("linear", allowed=("linear", "verbaliser"))

    def positions_taken(self, site: str, kind: str) -> int:
        """The prefix's length at its sites, where it shifts the real tokens."""
        return self.length if self.shift_positions and site in (self.sites or (site,)) else 0

    def trained_numbers(self, model: ModelFacts) -> float:
        """The MLP's weights, or the prefix itself."""
        hidden = (self.hidden,) * DEPTH[self.reparameterisation]
        columns = self.embedding_width or model.width
        return prefix_numbers(model, self.length, columns, hidden, self.sites, self.layers)

    def without_fitting(self) -> MethodConfig:
        """Without the fit to the activations of `init_text`."""
        return replace(self, init_text=None)

    def beyond_peft(self, kind: str) -> str | None:
        """Prefixes of some sites or layers, or without shifted positions."""
        return super().beyond_peft(kind) or prefix_beyond_peft(kind, self.layers, self.shift_positions)

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """Sites and layers must exist; only a decoder-only model has activations to start from."""
        super().check(model, family, task_format)
        check_sites(self.sites, model)
        check_layers(self.layers, model)
        if self.init_text and model.kind != "decoder":
            why = "only decoder-only models can start from activations (the official code has no such start for BART)"
            refuse("init_text", self.init_text, why, "Set method.init_text=null.")

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """Prefixes of keys and values at the chosen layers."""
        from repro.methods.parts.deep_prompt import DeepPrompt
        from repro.methods.parts.reparameterisation import TorchDefaults, UniformEmbedding

        return DeepPrompt(
            self.name,
            self.length,
            (self.hidden,) * DEPTH[self.reparameterisation],
            UniformEmbedding() if self.init_distribution == "uniform" else TorchDefaults(),
            self.prefix_dropout,
            self.sites,
            self.shift_positions,
            self.layers,
            self.init_text,
            self.init_steps,
            self.embedding_width,
        )


register("prefix_tuning", PrefixTuningConfig)
