"""Prompt tuning (Lester et al. 2021): P trainable vectors at the input of the frozen model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method
from repro.methods.facts import FamilyFacts, ModelFacts, takes_input_prompt
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig, check_placement, refuse


@dataclass
class PromptTuningConfig(MethodConfig):
    """Settings of prompt tuning. On encoder models this is the "PT" baseline of P-Tuning v2 with its linear head."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        enters=(Entry.INPUT,), size="length", peft_type="PROMPT_TUNING", imports="PROMPT_TUNING"
    )

    length: int = setting(100, at_least=1)
    initialisation: str = setting("class_label", allowed=("uniform", "normal", "sampled_vocabulary", "class_label"))
    uniform_low: float = -0.5
    uniform_high: float = 0.5
    """The paper says [-0.5, 0.5]; the official configuration samples [0, 0.5)."""
    normal_std: float = setting(0.02, above=0)
    """`normal`: N(0, normal_std^2), as the library starts modules that a checkpoint lacks, and so P-Tuning v2's PT."""
    vocabulary_size: int = setting(5000, at_least=1)
    """Rows of the embedding table, from id 0, among which `sampled_vocabulary` draws without replacement."""
    init_words: list[str] = setting(factory=list)
    """`class_label`: words instead of the task's label names (Lester et al., footnote 7); empty means the labels."""
    placement: str = setting("before", shared_jointly=True, allowed=("before", "after_bos", "after", "template"))
    """before | after (the input) | after_bos"""
    embedded_twice: bool = setting(False, shared_jointly=True)
    """Encoders: the text gets position and type embeddings and their norm before the prompt is put in front, and again
    after (the official "PT" of P-Tuning v2)."""
    pooled_at_prompt: bool = setting(False, shared_jointly=True)
    """Encoders: the pooler reads position 0, a prompt row (the official "PT" on COPA)."""
    head: str = setting("linear", allowed=("linear", "verbaliser"))
    """linear | verbaliser (the language-model head at a mask token; sets task.format=cloze)"""

    def positions_taken(self, site: str, kind: str) -> int:
        """The prompt's length where the input is read; rows of a template stand at the input's own positions."""
        return self.length if self.placement != "template" and takes_input_prompt(site, kind) else 0

    def trained_numbers(self, model: ModelFacts) -> float:
        """P x D"""
        return float(self.length * model.width)

    def beyond_peft(self, kind: str) -> str | None:
        """Prompts elsewhere than before the input."""
        reason = super().beyond_peft(kind)
        return reason or (None if self.placement == "before" else "its prompts stand before the input only")

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """Switches of the official PT baseline are for encoders, and a template is for the cloze format."""
        super().check(model, family, task_format)
        switches = {"embedded_twice": self.embedded_twice, "pooled_at_prompt": self.pooled_at_prompt}
        for switch, value in switches.items():
            if value and model.kind != "encoder":
                allowed = "only encoder models embed and pool the text as the official PT baseline does"
                refuse(switch, True, allowed, f"Set method.{switch}=false.")
        if self.embedded_twice and not family.embeds_twice:
            refuse("embedded_twice", True, "known for the BERT and RoBERTa of the official code", "Set it to false.")
        check_placement(self.placement, task_format)

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """Trainable `prompt` [K, P, D]."""
        from repro.methods.parts.input_prompt import PromptTuning

        return PromptTuning(
            self.length,
            self.initialisation,
            self.uniform_low,
            self.uniform_high,
            self.normal_std,
            self.vocabulary_size,
            self.init_words or init_words,
            self.placement,
            self.embedded_twice,
            self.pooled_at_prompt,
        )


register("prompt_tuning", PromptTuningConfig)
