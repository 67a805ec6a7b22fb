"""LoRA (Hu et al. 2022), a baseline of ours, by the peft library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method, Tuning
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig


@dataclass
class LoraConfig(MethodConfig):
    """W + (alpha / rank) B A with B [out, rank] zero and A [rank, in] drawn."""

    capabilities: ClassVar[Capabilities] = Capabilities(enters=(Entry.BACKBONE,), size="rank", peft_type="LORA")

    rank: int = setting(8, at_least=1)
    alpha: float = 16.0
    dropout: float = setting(0.0, at_least=0, below=1)
    targets: list[str] = setting(factory=list)
    """Names of the modules that get a low-rank layer; empty: peft's choice for the family."""
    head: str = setting("linear", allowed=("linear", "verbaliser"))

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """No prompt; a linear head on encoders."""
        from repro.methods.parts.backbone_weights import FineTuning

        return FineTuning(self.name, Tuning("lora", self.rank, self.alpha, self.dropout, tuple(self.targets)))


register("lora", LoraConfig)
