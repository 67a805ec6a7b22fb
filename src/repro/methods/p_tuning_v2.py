"""P-Tuning v2 (Liu et al. 2022): deep prompts for understanding tasks, with a linear head (section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from repro.methods.base import Method
from repro.methods.facts import FamilyFacts, ModelFacts, prefix_numbers
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import Capabilities, Entry, MethodConfig, check_layers, check_sites, prefix_beyond_peft


@dataclass
class PTuningV2Config(MethodConfig):
    """Prefixes of keys and values at every layer.

    They start at N(0, 0.02^2) and zero biases: in the official run `from_pretrained` re-initialises new modules.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        enters=(Entry.KEYS_VALUES,), size="length", peft_type="PREFIX_TUNING", imports="PREFIX_TUNING"
    )

    length: int = setting(20, at_least=1)
    reparameterisation: str = setting("embedding", allowed=("embedding", "mlp"))
    """embedding (none) | mlp (section 3.3)"""
    hidden: int = setting(512, at_least=1)
    prefix_dropout: float = setting(0.1, at_least=0, below=1)
    init_std: float = setting(0.02, at_least=0)
    shift_positions: bool = True
    sites: list[str] = setting(factory=list, shared_jointly=True)
    layers: str = setting("all", shared_jointly=True)
    """all | first:k | last:k of the layers (Figure 3)"""
    head: str = setting("linear", allowed=("linear", "verbaliser"))
    """linear | verbaliser (Table 4)"""

    def _hidden(self) -> tuple[int, ...]:
        return (self.hidden,) if self.reparameterisation == "mlp" else ()

    def positions_taken(self, site: str, kind: str) -> int:
        """The prefix's length at its sites, where it shifts the real tokens."""
        return self.length if self.shift_positions and site in (self.sites or (site,)) else 0

    def trained_numbers(self, model: ModelFacts) -> float:
        """The MLP's weights, or the prefix itself."""
        return prefix_numbers(model, self.length, model.width, self._hidden(), self.sites, self.layers)

    def beyond_peft(self, kind: str) -> str | None:
        """Prefixes of some sites or layers, or without shifted positions."""
        return super().beyond_peft(kind) or prefix_beyond_peft(kind, self.layers, self.shift_positions)

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """Sites and layers must exist."""
        super().check(model, family, task_format)
        check_sites(self.sites, model)
        check_layers(self.layers, model)

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """Prefixes of keys and values at the chosen layers."""
        from repro.methods.parts.deep_prompt import DeepPrompt
        from repro.methods.parts.reparameterisation import Gaussian

        starts, shift = Gaussian(self.init_std), self.shift_positions
        dropout, hidden = self.prefix_dropout, self._hidden()
        return DeepPrompt(
            self.name, self.length, hidden, starts, dropout, self.sites, shift, self.layers, direct="embedding"
        )


register("p_tuning_v2", PTuningV2Config)
