"""Prompt design: words in front of the input and nothing trained (Lester et al. section 1; their GPT-3 comparison)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.errors import ConfigError
from repro.methods.base import Method
from repro.methods.facts import FamilyFacts, ModelFacts
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, MethodConfig


@dataclass
class PromptDesignConfig(MethodConfig):
    """The words; the task puts them in front of its source (`repro.tasks.wording`)."""

    capabilities: ClassVar[Capabilities] = Capabilities(trains=False, words=True)

    text: str = ""
    """In front of the input; with {source} in it, around it."""
    shots: int = setting(0, at_least=0)
    """Training examples shown, drawn with the seed."""

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """The model must generate."""
        super().check(model, family, task_format)
        if task_format != "text_to_text":
            raise ConfigError(
                f"method=prompt_design with model={model.name}: words can only ask a model that generates. Choose "
                "model=t5-base-lm-adapt or model=gpt2-medium, or another method."
            )

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """The plain model."""
        from repro.methods.parts.backbone_weights import FineTuning

        return FineTuning(self.name, None)


register("prompt_design", PromptDesignConfig)
