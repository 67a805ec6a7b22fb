"""Fine-tuning, "model tuning" in Lester et al.: every weight of the backbone is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method
from repro.methods.facts import ModelFacts
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig


@dataclass
class FineTuningConfig(MethodConfig):
    """Settings of fine-tuning."""

    capabilities: ClassVar[Capabilities] = Capabilities(enters=(Entry.BACKBONE,))

    head: str = setting("linear", allowed=("linear", "verbaliser"))
    """Encoder models: `linear` on the pooled or token output. Generating models ignore it."""

    def trained_numbers(self, model: ModelFacts) -> float:
        """The whole backbone."""
        return float(model.parameters or 0)

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """No prompt; a linear head on encoders."""
        from repro.methods.parts.backbone_weights import FineTuning

        return FineTuning()


register("fine_tuning", FineTuningConfig)
