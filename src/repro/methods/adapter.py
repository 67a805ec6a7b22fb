"""Adapters as Lin et al. 2020 have them, Li and Liang's baseline: one behind every block, with its own layer norm."""

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
class AdapterConfig(MethodConfig):
    """Settings of adapters."""

    capabilities: ClassVar[Capabilities] = Capabilities(enters=(Entry.BLOCKS,), size="bottleneck")

    bottleneck: int = setting(6, at_least=1)
    """Li and Liang's 0.1 % is 6 and their 3 % is 224 on GPT-2 medium, by LoRA's counts."""
    init_std: float = setting(0.02, at_least=0)
    """Of both matrices; biases start at 0 and the norm at identity."""
    head: str = setting("linear", allowed=("linear", "verbaliser"))

    def trained_numbers(self, model: ModelFacts) -> float:
        """B x (2 D R + R + 3 D) over the blocks of all stacks."""
        blocks = model.layers + (model.decoder_layers or 0)
        return float(blocks * (2 * model.width * self.bottleneck + self.bottleneck + 3 * model.width))

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """x + W_up relu(W_down LN(x)) behind every block."""
        from repro.methods.parts.bottleneck import AdapterTuning

        return AdapterTuning(self.bottleneck, self.init_std)


register("adapter", AdapterConfig)
