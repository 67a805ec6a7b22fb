"""P-tuning (v1, Liu et al. 2021): prompts at the input, among anchor words, made by a small encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method
from repro.methods.facts import FamilyFacts, ModelFacts, takes_input_prompt
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig, check_placement


@dataclass
class PTuningConfig(MethodConfig):
    """Settings of P-tuning. In the paper's SuperGLUE numbers the backbone is tuned too."""

    capabilities: ClassVar[Capabilities] = Capabilities(enters=(Entry.INPUT,), size="length", peft_type="PROMPT_TUNING")

    length: int = setting(3, at_least=1)
    """Prompt rows of the task's template."""
    encoder: str = setting("lstm", allowed=("lstm", "mlp", "embedding"))
    """lstm | mlp (Linear - ReLU - Linear) | embedding (none)"""
    lstm_hidden: int | None = setting(None, at_least=1)
    """Units of each direction; null: the model's width (the few-shot code; the LAMA code takes half of it)."""
    lstm_dropout: float = setting(0.0, at_least=0, below=1)
    """Between the LSTM's layers while training (the LAMA code has the switch, the few-shot code none)."""
    tune_backbone: bool = False
    """Train the backbone's weights as well (every SuperGLUE number of the paper)."""
    placement: str = setting("template", shared_jointly=True, allowed=("template", "before", "after_bos", "after"))
    """template | before"""
    head: str = setting("verbaliser", allowed=("linear", "verbaliser"))
    """linear | verbaliser"""

    def tunes_backbone(self) -> bool:
        """Where `tune_backbone` is set."""
        return self.tune_backbone

    def positions_taken(self, site: str, kind: str) -> int:
        """None in a template, whose positions are the input's own."""
        return self.length if self.placement != "template" and takes_input_prompt(site, kind) else 0

    def trained_numbers(self, model: ModelFacts) -> float:
        """The whole backbone where it is tuned, or the prompt rows (the encoder is not counted)."""
        return float(model.parameters or 0) if self.tune_backbone else float(self.length * model.width)

    def beyond_peft(self, kind: str) -> str | None:
        """Prompts elsewhere than before the input."""
        reason = super().beyond_peft(kind)
        return reason or (None if self.placement == "before" else "its prompts stand before the input only")

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """A template is for the cloze format."""
        super().check(model, family, task_format)
        check_placement(self.placement, task_format)

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """Prompt rows from an encoder, which is folded away on export."""
        from repro.methods.parts.encoded_prompt import PTuning

        return PTuning(
            self.length, self.encoder, self.lstm_hidden, self.lstm_dropout, self.tune_backbone, self.placement
        )


register("p_tuning", PTuningConfig)
