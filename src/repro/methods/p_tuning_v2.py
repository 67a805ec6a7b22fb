"""P-Tuning v2 (Liu et al. 2022): deep prompts for understanding tasks, with a linear head (section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from repro.methods.base import Method
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import PrefixConfig


@dataclass
class PTuningV2Config(PrefixConfig):
    """Prefixes of keys and values at every layer.

    They start at N(0, 0.02^2) and zero biases: in the official run `from_pretrained` re-initialises new modules.
    """

    reparameterisation: str = setting("embedding", allowed=("embedding", "mlp"))
    """embedding (none) | mlp (section 3.3)"""
    prefix_dropout: float = setting(0.1, at_least=0, below=1)
    init_std: float = setting(0.02, at_least=0)

    def hidden_layers(self) -> tuple[int, ...]:
        """One, if there is an MLP."""
        return (self.hidden,) if self.reparameterisation == "mlp" else ()

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """Prefixes of keys and values at the chosen layers."""
        from repro.methods.parts.deep_prompt import DeepPrompt
        from repro.methods.parts.reparameterisation import Gaussian

        starts, shift = Gaussian(self.init_std), self.shift_positions
        dropout, hidden = self.prefix_dropout, self.hidden_layers()
        return DeepPrompt(
            self.name, self.length, hidden, starts, dropout, self.sites, shift, self.layers, direct="embedding"
        )


register("p_tuning_v2", PTuningV2Config)
