"""Infix-tuning (Li and Liang 2021, section 7.3): [x; infix; y] instead of [prefix; x; y]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method
from repro.methods.facts import ModelFacts, prefix_numbers, takes_input_prompt
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig


@dataclass
class InfixTuningConfig(MethodConfig):
    """Settings of the ablation: P trained embeddings behind the source, and an addition to their keys and values."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        enters=(Entry.INFIX,),
        size="length",
        kinds=("decoder",),
        why_not_others="its infix stands between the source and the target of one sequence",
        no_label_scoring="an infix changes what stands behind it, label by label",
    )

    length: int = setting(10, at_least=1, shared_jointly=True)
    reparameterisation: str = setting("mlp", allowed=("mlp", "none"))
    """mlp makes the addition from an embedding [P, D] of its own | none trains it directly"""
    hidden: int = setting(512, at_least=1)

    def positions_taken(self, site: str, kind: str) -> int:
        """The infix's length."""
        return self.length if takes_input_prompt(site, kind) else 0

    def trained_numbers(self, model: ModelFacts) -> float:
        """The addition's MLP, or the addition itself."""
        hidden = (self.hidden,) if self.reparameterisation == "mlp" else ()
        return prefix_numbers(model, self.length, model.width, hidden)

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """Trainable `prompt` [K, P, D] and what is added to its keys and values."""
        from repro.methods.parts.infix import InfixTuning

        return InfixTuning(self.length, self.reparameterisation, self.hidden)


register("infix_tuning", InfixTuningConfig)
