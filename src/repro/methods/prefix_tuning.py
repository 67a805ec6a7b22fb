"""Prefix-tuning (Li and Liang 2021): keys and values at every layer, through an MLP while training (section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from repro.methods.base import Method
from repro.methods.facts import FamilyFacts, ModelFacts, prefix_numbers
from repro.methods.fields import setting
from repro.methods.registry import register
from repro.methods.schema import MethodConfig, PrefixConfig, refuse

DEPTH = {"none": 0, "mlp": 1, "deep": 2}
"""Hidden layers of each reparameterisation."""


@dataclass
class PrefixTuningConfig(PrefixConfig):
    """P_theta[i, :] = MLP_theta(P'_theta[i, :]) (equation 3).

    As in the official code P' has D columns and `hidden` is the MLP's inner width; the paper calls k the width of P',
    which `embedding_width` sets.
    """

    length: int = setting(5, at_least=1)
    reparameterisation: str = setting("mlp", allowed=tuple(DEPTH))
    """mlp | none (the prefix itself is trained: `init_shallow`) | deep (two hidden layers: `use_deep`)"""
    embedding_width: int | None = setting(None, at_least=1)
    """Columns of P'; null: the model's width, as in the code (the paper's k is this one)."""
    init_distribution: str = setting("normal", allowed=("normal", "uniform"))
    """normal (N(0, 1), the code) | uniform (U[0, 1), appendix A.5): of P', or of the prefix itself without an MLP"""
    init_text: str | None = None
    """Words whose activations in the frozen model are the starting prefix (section 7.4); `length` is their number of
    tokens."""
    init_steps: int = setting(500, at_least=1)
    """Updates that fit the MLP to the activations of `init_text`."""

    def hidden_layers(self) -> tuple[int, ...]:
        """As many as DEPTH says."""
        return (self.hidden,) * DEPTH[self.reparameterisation]

    def trained_numbers(self, model: ModelFacts) -> float:
        """The MLP's weights, or the prefix itself."""
        columns = self.embedding_width or model.width
        return prefix_numbers(model, self.length, columns, self.hidden_layers(), self.sites, self.layers)

    def without_fitting(self) -> MethodConfig:
        """Without the fit to the activations of `init_text`."""
        return replace(self, init_text=None)

    def check(self, model: ModelFacts, family: FamilyFacts, task_format: str) -> None:
        """Only a decoder-only model has activations to start from."""
        super().check(model, family, task_format)
        if self.init_text and model.kind != "decoder":
            why = "only decoder-only models can start from activations (the official code has no such start for BART)"
            refuse("init_text", self.init_text, why, "Set method.init_text=null.")

    def build(self, init_words: Sequence[str] = ()) -> Method:
        """Prefixes of keys and values at the chosen layers."""
        from repro.methods.parts.deep_prompt import DeepPrompt
        from repro.methods.parts.reparameterisation import TorchDefaults, UniformEmbedding

        return DeepPrompt(
            self.name,
            self.length,
            self.hidden_layers(),
            UniformEmbedding() if self.init_distribution == "uniform" else TorchDefaults(),
            self.prefix_dropout,
            self.sites,
            self.shift_positions,
            self.layers,
            self.init_text,
            self.init_steps,
            self.embedding_width,
        )


register("prefix_tuning", PrefixTuningConfig)
