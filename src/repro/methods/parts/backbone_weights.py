"""Baselines that train weights of the backbone: all of them, its top blocks, its biases, or low-rank layers in it.

Fine-tuning is "model tuning" in Lester et al.; FT-top2 is Li and Liang's; BitFit, LoRA and IA3 are baselines of ours.
"""

from __future__ import annotations

from torch import Tensor

from repro.methods.base import Context, Injection, Tuning
from repro.methods.parts.heads import build_head, head_of
from repro.methods.parts.tensor_method import TensorMethod

ALL = Tuning("all")


class FineTuning(TensorMethod):
    """No prompt; a linear head on encoders; the weights that `tuning` names are in the optimiser (K is 1).

    Args:
        tuning: None where no weights are trained (prompt design).
    """

    def __init__(self, name: str = "fine_tuning", tuning: Tuning | None = ALL):
        self.name, self.tuning = name, tuning
        self.parameters: dict[str, Tensor] = {}

    def build(self, context: Context) -> None:
        """Only the head is new."""
        self.parameters = build_head(context)

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """The head alone."""
        return Injection(head=head_of(self.parameters))
