"""BitFit (Zaken et al. 2022), a baseline of ours: every bias of the backbone is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.errors import ConfigError
from repro.methods.base import Method, Tuning
from repro.methods.facts import FamilyFacts, ModelFacts
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig


@dataclass
class BitFitConfig(MethodConfig):
    """Settings of BitFit."""

    capabilities: ClassVar[Capabilities] = Capabilities(enters=(Entry.BACKBONE,))

    head: str = setting("linear", allowed=("linear", "verbaliser"))

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """The family must have bias terms."""
        super().check(model, family, task_format)
        if not family.biases:
            raise ConfigError(
                f"method=bitfit with model={model.name}: {family.title} has no bias terms to train. Choose "
                "method=adapter or method=lora, or a model with biases (model=bart-large, model=gpt2-medium)."
            )

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """No prompt; a linear head on encoders."""
        from repro.methods.parts.backbone_weights import FineTuning

        return FineTuning(self.name, Tuning("biases"))


register("bitfit", BitFitConfig)
