"""IA3 (Liu et al. 2022, T-Few), a baseline of ours, by the peft library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method, Tuning
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig


@dataclass
class Ia3Config(MethodConfig):
    """Learnt scales of keys, values and inner activations."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        enters=(Entry.BACKBONE,), peft_type="IA3", no_size="Its switch method.targets chooses other modules."
    )

    targets: list[str] = setting(factory=list)
    """Names of the modules that are scaled; empty: peft's choice for the family."""
    head: str = setting("linear", allowed=("linear", "verbaliser"))

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """No prompt; a linear head on encoders."""
        from repro.methods.parts.backbone_weights import FineTuning

        return FineTuning(self.name, Tuning("ia3", targets=tuple(self.targets)))


register("ia3", Ia3Config)
