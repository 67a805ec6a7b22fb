"""FT-top2 (Li and Liang 2021, section 5.2): the last blocks and the final norm are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method, Tuning
from repro.methods.facts import FamilyFacts, ModelFacts
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig, refuse


@dataclass
class FtTopConfig(MethodConfig):
    """Settings of fine-tuning the top of the backbone."""

    capabilities: ClassVar[Capabilities] = Capabilities(enters=(Entry.BACKBONE,), size="blocks")

    blocks: int = setting(2, at_least=1)
    """Blocks from the top that are trained, with the norm behind them."""
    head: str = setting("linear", allowed=("linear", "verbaliser"))

    def trained_numbers(self, model: ModelFacts) -> float:
        """About the share of the blocks."""
        return float(model.parameters or 0) * self.blocks / (model.layers + (model.decoder_layers or 0))

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """The model must have so many blocks."""
        super().check(model, family, task_format)
        if self.blocks > model.layers:
            refuse("blocks", self.blocks, f"{model.name} has {model.layers}", "Lower it.")

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """No prompt; a linear head on encoders."""
        from repro.methods.parts.backbone_weights import FineTuning

        return FineTuning(self.name, Tuning("top", blocks=self.blocks))


register("ft_top", FtTopConfig)
