"""Embedding-only (Li and Liang 2021, section 7.2): the prefix's keys and values come out of the frozen model itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method
from repro.methods.facts import ModelFacts, takes_input_prompt
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig


@dataclass
class EmbeddingOnlyConfig(MethodConfig):
    """Settings of the ablation: a trained prompt at the input of a causal model."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        enters=(Entry.INPUT,),
        size="length",
        kinds=("decoder",),
        why_not_others="its prefix is what a causal model computes for the prompt before it reads anything else",
        peft_type="PROMPT_TUNING",
    )

    length: int = setting(10, at_least=1)
    reparameterisation: str = setting("mlp", allowed=("mlp", "none"))
    """mlp (Embedding - Linear - tanh - Linear, the code's default) | none"""
    hidden: int = setting(512, at_least=1)

    def positions_taken(self, site: str, kind: str) -> int:
        """The prompt's length."""
        return self.length if takes_input_prompt(site, kind) else 0

    def trained_numbers(self, model: ModelFacts) -> float:
        """P x D, without the MLP."""
        return float(self.length * model.width)

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """Trainable `prompt` [K, P, D], or an MLP that makes it."""
        from repro.methods.parts.projected_prompt import EmbeddingOnly

        return EmbeddingOnly(self.length, self.reparameterisation, self.hidden)


register("embedding_only", EmbeddingOnlyConfig)
