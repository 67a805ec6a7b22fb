"""Prefix-tuning and LoRA at once, a baseline of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method
from repro.methods.facts import ModelFacts, prefix_numbers
from repro.methods.fields import setting
from repro.methods.lora import LoraConfig
from repro.methods.prefix_tuning import DEPTH, PrefixTuningConfig
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig


@dataclass
class LoraPrefixConfig(MethodConfig):
    """Settings of both parts."""

    capabilities: ClassVar[Capabilities] = Capabilities(enters=(Entry.KEYS_VALUES, Entry.BACKBONE), size="rank")

    length: int = setting(5, at_least=1)
    reparameterisation: str = setting("mlp", allowed=tuple(DEPTH))
    """mlp | none | deep"""
    hidden: int = setting(512, at_least=1)
    rank: int = setting(8, at_least=1)
    alpha: float = 16.0
    dropout: float = setting(0.0, at_least=0, below=1)
    targets: list[str] = setting(factory=list)
    head: str = setting("linear", allowed=("linear", "verbaliser"))

    def positions_taken(self, site: str, kind: str) -> int:
        """The prefix's length."""
        return self.length

    def trained_numbers(self, model: ModelFacts) -> float:
        """The prefix's share."""
        return prefix_numbers(model, self.length, model.width, (self.hidden,) * DEPTH[self.reparameterisation])

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """Prefix-tuning in a model whose matrices have low-rank layers."""
        from repro.methods.parts.composition import Composition

        prefix = PrefixTuningConfig(
            name="prefix_tuning", length=self.length, reparameterisation=self.reparameterisation, hidden=self.hidden
        )
        lora = LoraConfig(self.rank, self.alpha, self.dropout, self.targets, name="lora")
        return Composition(self.name, {"prefix": prefix.build(), "lora": lora.build()})


register("lora_prefix", LoraPrefixConfig)
